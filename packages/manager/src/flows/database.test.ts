import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FlowDatabase } from './database.ts';
import { FlowEncoder } from './encoder.ts';
import type { AppendRequest, QueryRequest } from './messages.ts';
import { flowNumber, inventoryOf } from './testing/flows.ts';

test('what a failed batch brought along is there for the batches after it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-flows-'));
  const database = await FlowDatabase.open(join(directory, 'flows.duckdb'));
  try {
    const encoder = new FlowEncoder(inventoryOf(50), await database.nextNumber());
    const request = (number: number, batch: number): AppendRequest => {
      const encoded = encoder.encode('h1', [flowNumber(1, { id: `flow-${number}` })]);
      database.learn(encoded.ends, encoded.texts);
      return { kind: 'append', host: 'h1', boot: 'b', batch, lost: 0, ...encoded };
    };
    // The table of batches takes no NULL, so that this one fails when its rows are written already.
    const broken = { ...request(1, 1), boot: null as unknown as string };
    const good = request(2, 2);
    assert.deepEqual([good.ends, good.texts], [[], []]);
    await assert.rejects(database.append([broken, good]));
    assert.deepEqual(await database.append([good]), [false]);
    const everything: QueryRequest = {
      kind: 'query',
      filter: {},
      sort: 'newest',
      cursor: null,
      limit: 10,
      scope: null,
    };
    const { items } = await database.query(everything);
    assert.deepEqual(
      items.map(({ id, source, egressReason }) => [id, source.name, egressReason]),
      [['flow-2', 'web-1', 'application/web/out']],
    );
    assert.deepEqual(database.totals, { stored: 1, lost: 0, expired: 0 });
  } finally {
    await database.close();
    rmSync(directory, { recursive: true });
  }
});
