import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decodeAgentMessage, type FlowRecord } from '@bulkhead/protocol';
import { Journal, type Batch } from './journal.ts';

function flow(id: string): FlowRecord {
  const party = { workload: null, identity: 2, address: '192.0.2.1', port: 1 };
  return {
    ...{ id, source: party, destination: party, protocol: 6, verdict: 'allow', egressReason: '', ingressReason: '' },
    ...{
      dropReason: null,
      question: null,
      staged: null,
      revision: 1,
      firstMs: 1,
      lastMs: 1,
      packets: [1, 0],
      bytes: [1, 0],
      state: 'new',
    },
  };
}

function flowsOf({ frame }: Batch): { readonly ids: readonly string[]; readonly lost: number; readonly batch: number } {
  const decoded = decodeAgentMessage(frame);
  assert.ok(decoded.kind === 'message' && decoded.message.type === 'flows');
  const { flows, lost, batch } = decoded.message.body;
  return { ids: flows.map(({ id }) => id), lost, batch };
}

test('batches stay until they are acknowledged, in order, over restarts, and numbers are never used again', () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-journal-'));
  try {
    let id: string;
    {
      using journal = new Journal(directory);
      id = journal.id;
      for (const each of ['a', 'b', 'c']) journal.append({ type: 'flows', flows: [flow(each)] });
      journal.acknowledge(2);
      journal.acknowledge(2);
    }
    using journal = new Journal(directory);
    assert.equal(journal.id, id);
    assert.deepEqual(
      journal.after(0, 10).map((batch) => flowsOf(batch).ids),
      [['a'], ['c']],
    );
    assert.deepEqual(
      journal.after(1, 1).map(({ number }) => number),
      [3],
    );
    journal.acknowledge(1);
    journal.acknowledge(3);
    assert.equal(journal.batches, 0);
    assert.equal(journal.bytes, 0);
    journal.append({ type: 'flows', flows: [flow('d')] });
    assert.deepEqual(
      journal.after(0, 10).map((batch) => flowsOf(batch).batch),
      [4],
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('a full journal gives up the oldest flows, counts them, and keeps outcomes', () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-journal-'));
  try {
    using journal = new Journal(directory, { bytesMax: 4_000 });
    journal.append({ type: 'outcomes', outcomes: [] });
    for (let each = 0; each < 50; each++) journal.append({ type: 'flows', flows: [flow(`f${each}`)] });
    assert.ok(journal.bytes <= 4_000);
    const batches = journal.after(0, 100);
    assert.equal(batches[0]!.number, 1, 'the outcomes are still there');
    const told = batches.slice(1).map(flowsOf);
    const lost = told.reduce((sum, each) => sum + each.lost, 0);
    // What the newest batch pushed out is told by the next.
    journal.append({ type: 'flows', flows: [] });
    const last = flowsOf(journal.after(0, 100).at(-1)!);
    assert.ok(told.length < 50);
    assert.ok(lost + last.lost > 0);
    assert.equal(told.at(-1)!.ids[0], 'f49', 'the newest is kept');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('what append returned from survives kill -9', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-journal-'));
  try {
    const script = `
      import { Journal } from ${JSON.stringify(fileURLToPath(new URL('journal.ts', import.meta.url)))};
      const journal = new Journal(${JSON.stringify(directory)});
      for (let number = 1; ; number++) {
        journal.append({ type: 'outcomes', outcomes: [] });
        process.stdout.write(number + '\\n');
      }`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      said += chunk.toString();
      if (said.split('\n').length > 40) break;
    }
    child.kill('SIGKILL');
    await once(child, 'exit');
    const last = Number(said.slice(0, said.lastIndexOf('\n')).split('\n').at(-1));
    using journal = new Journal(directory);
    const numbers = journal.after(0, 100_000).map(({ number }) => number);
    assert.deepEqual(
      numbers,
      Array.from({ length: numbers.length }, (_, index) => index + 1),
      'no gap',
    );
    assert.ok(numbers.length >= last, `${numbers.length} of at least ${last}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
