import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { CommandFailure } from '../exit.ts';
import { compareLines } from '../views/document-view.ts';
import { parseDocuments, readDocuments } from './read-documents.ts';

describe('documents', () => {
  let directory = '';
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bulkhead-documents-'));
    await mkdir(join(directory, 'below'));
    await writeFile(join(directory, 'b.yaml'), 'kind: B1\n---\nkind: B2\n---\n');
    await writeFile(join(directory, 'a.json'), '{"kind": "A"}');
    await writeFile(join(directory, 'below', 'c.yml'), 'kind: C\n');
    await writeFile(join(directory, 'notes.txt'), 'no document');
  });
  after(() => rm(directory, { recursive: true, force: true }));

  test('are read from a folder, in the order of the names, each with its place', async () => {
    const found = await readDocuments([directory]);
    assert.deepEqual(
      found.map(({ value, index }) => [(value as { kind: string }).kind, index]),
      [
        ['A', 0],
        ['B1', 0],
        ['B2', 1],
        ['C', 0],
      ],
    );
    assert.equal(found[1]!.file, join(directory, 'b.yaml'));
  });

  test('are read from standard input', async () => {
    const found = await readDocuments(['-'], Readable.from(['kind: X\n']));
    assert.deepEqual(found, [{ value: { kind: 'X' }, file: 'standard input', index: 0 }]);
  });

  test('are the items of a list as kubectl gives it', () => {
    const list =
      'apiVersion: v1\nkind: List\nitems: [{kind: A}, {kind: B}]\nmetadata: {resourceVersion: ""}\n---\nkind: C\n';
    const found = parseDocuments(list, 'f.yaml').documents.map(({ value, index }) => [value, index]);
    assert.deepEqual(found, [
      [{ kind: 'A' }, 0],
      [{ kind: 'B' }, 1],
      [{ kind: 'C' }, 2],
    ]);
  });

  test('that are no YAML are told with line and column, all of them', () => {
    const { faults } = parseDocuments('a: [1\n---\nb: {x: 1, x: 2}\n', 'f.yaml');
    assert.ok(faults.length >= 2, JSON.stringify(faults));
    assert.ok(
      faults.every((fault) => /^f\.yaml:\d+:\d+$/.test(fault.where ?? '')),
      JSON.stringify(faults),
    );
  });

  test('may say a thing once: anchors, and maps that are merged', () => {
    const source = 'a: &web {app: web}\nb: *web\nc: {<<: *web, tier: front}\n';
    const [found] = parseDocuments(source, 'f.yaml').documents;
    assert.deepEqual(found?.value, { a: { app: 'web' }, b: { app: 'web' }, c: { app: 'web', tier: 'front' } });
  });

  test('that name a field __proto__ are told with line and column', () => {
    const { documents, faults } = parseDocuments('a: 1\n---\nlabels:\n  __proto__: x\n', 'f.yaml');
    assert.equal(documents.length, 1);
    assert.deepEqual(faults, [{ where: 'f.yaml:4:3', what: 'no field and no label has the name __proto__' }]);
  });

  test('a path that is not there, and a folder with nothing in it, are told apart', async () => {
    const exit = (name: string) => (error: unknown) => error instanceof CommandFailure && error.exit === name;
    await assert.rejects(readDocuments([join(directory, 'nothing')]), exit('usage'));
    await mkdir(join(directory, 'empty'));
    await assert.rejects(readDocuments([join(directory, 'empty')]), exit('invalid'));
  });

  test('whatever the text is, reading it ends without an exception', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), (text) => {
        const { documents, faults } = parseDocuments(text, 'f');
        assert.ok(Array.isArray(documents) && Array.isArray(faults));
      }),
    );
  });
});

test('a comparison of lines holds both versions, in order', () => {
  const lines = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 12 });
  fc.assert(
    fc.property(lines, lines, (before, after) => {
      const changes = compareLines(before, after);
      const side = (other: string) => changes.filter((change) => change.kind !== other).map((change) => change.line);
      assert.deepEqual(side('new'), before);
      assert.deepEqual(side('gone'), after);
    }),
  );
});
