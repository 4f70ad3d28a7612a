/**
 * Every folder of examples/policy is read as `bulkhead apply` reads it, taken by a manager in one revision, and says about each flow of
 * its `expect.yaml` what stands there. What is in a folder `refused` the manager refuses, whole.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  conditionFault,
  createPolicySet,
  decide,
  type Document,
  type Flow,
  type Labels,
  parseDocument,
  type Party,
  protocolNumber,
  type PolicySet,
  reasonText,
  stagedPolicySet,
  type Verdict,
} from '@bulkhead/policy';
import { parse } from 'yaml';
import { readDocuments } from '../../packages/cli/src/documents/read-documents.ts';
import { managerFixture } from '../../packages/manager/src/testing/manager-fixture.ts';

interface Expected {
  readonly from: string;
  readonly to: string;
  /** e.g. `tcp/443` */
  readonly port: string;
  readonly verdict: string;
  /** The reason of the end that decides. */
  readonly because: string;
  /** The verdict if what is staged were enforced. */
  readonly staged?: string;
}

interface Expectations {
  readonly workloads?: Readonly<Record<string, Labels>>;
  readonly hosts?: Readonly<Record<string, Labels>>;
  /** What the workloads learnt an address to be. */
  readonly names?: Readonly<Record<string, readonly string[]>>;
  readonly expect: readonly Expected[];
}

const examples = fileURLToPath(new URL('../../examples/policy/', import.meta.url));
const folders = readdirSync(examples, { withFileTypes: true }).filter((entry) => entry.isDirectory());

for (const { name } of folders) {
  describe(`examples/policy/${name}`, () => {
    const folder = `${examples}${name}`;
    const {
      workloads = {},
      hosts = {},
      names = {},
      expect,
    }: Expectations = parse(readFileSync(`${folder}/expect.yaml`, 'utf8'));
    const party = (text: string): Party => {
      const [labels, host, learnt] = [workloads[text], hosts[text], names[text]];
      if (labels !== undefined) return { kind: 'workload', labels, name: text };
      if (host !== undefined) return { kind: 'host', labels: host };
      return learnt === undefined
        ? { kind: 'address', address: text }
        : { kind: 'address', address: text, names: learnt };
    };

    test('says what it promises', async () => {
      const set = await policySet(folder);
      const staged = stagedPolicySet(set) ?? set;
      assert.ok(expect.length > 0);
      for (const expected of expect) {
        const flow = flowOf(party(expected.from), party(expected.to), expected.port);
        const verdict = decide(set, flow);
        const line = `${expected.from} → ${expected.to} ${expected.port}`;
        assert.deepEqual([verdict.action, deciding(verdict)], [expected.verdict, expected.because], line);
        if (expected.staged !== undefined) assert.equal(decide(staged, flow).action, expected.staged, line);
      }
    });

    test('is taken by a manager in one revision, and a second time changes nothing', async () => {
      await using manager = await managerFixture();
      const documents = (await readDocuments([`${folder}/documents`])).map(({ value, file }) => ({ value, file }));
      const first = await manager.admin.applyDocuments({ body: { documents } });
      assert.ok(first.kind === 'ok', JSON.stringify(first));
      assert.equal(first.value.changes.length, documents.length);
      const again = await manager.admin.applyDocuments({ body: { documents } });
      assert.ok(again.kind === 'ok', JSON.stringify(again));
      assert.equal(again.value.revision, first.value.revision);
      if (!existsSync(`${folder}/refused`)) return;
      const refused = (await readDocuments([`${folder}/refused`])).map(({ value, file }) => ({ value, file }));
      const third = await manager.admin.applyDocuments({ body: { documents: refused } });
      assert.equal(third.kind, 'error', 'what is in refused/ is refused');
      const status = await manager.admin.getStatus();
      assert.ok(status.kind === 'ok' && status.value.revision === first.value.revision, 'and nothing changed');
    });
  });
}

async function policySet(folder: string): Promise<PolicySet> {
  const documents: Document[] = (await readDocuments([`${folder}/documents`])).map(({ value, file, index }) => {
    const parsed = parseDocument(value, { file, index });
    assert.ok(parsed.kind === 'ok', JSON.stringify(parsed));
    return parsed.document;
  });
  const result = createPolicySet(documents, { checkCondition: conditionFault });
  assert.ok(result.kind === 'ok', JSON.stringify(result));
  return result.policySet;
}

function flowOf(source: Party, destination: Party, service: string): Flow {
  const [protocol, port] = service.split('/');
  assert.ok(protocol === 'tcp' || protocol === 'udp' || protocol === 'sctp', service);
  return { source, destination, protocol: protocolNumber[protocol], port: Number(port) };
}

/** Of the ends that gave the verdict the one where a rule did, else the source's, unless it has no say at all. */
function deciding({ action, egress, ingress }: Verdict): string {
  const ends = [egress, ingress].filter((end) => end.action === action);
  const speaking = ends.filter(({ reason }) => reasonText(reason) !== 'builtin:not-a-subject');
  const end = speaking.find(({ reason }) => reason.kind === 'rule') ?? speaking[0] ?? egress;
  return reasonText(end.reason);
}
