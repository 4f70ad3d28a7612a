import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseDocument } from '../documents/parse.ts';
import { createPolicySet } from '../resolve/policy-set.ts';
import { generateDocuments, seededRandom } from './generate.ts';

test('generated documents are documents, and resolve', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const more = { kubernetes: 12, live: true, staged: true, hosts: true };
      const documents = generateDocuments(seededRandom(seed), { segments: 6, policies: 8, ...more });
      for (const document of documents) {
        const parsed = parseDocument(document, {});
        assert.deepEqual(parsed.kind === 'refused' ? parsed.problems : [], []);
      }
      assert.equal(createPolicySet(documents, { checkCondition: () => null }).kind, 'ok');
    }),
    { numRuns: 300 },
  );
});
