import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DuckDBInstance } from '@duckdb/node-api';
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

test('tables of the layout before are brought to the present one, with what is in them', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-flows-'));
  const path = join(directory, 'flows.duckdb');
  try {
    const instance = await DuckDBInstance.create(path);
    const connection = await instance.connect();
    await connection.run(`
      CREATE TABLE flows (arrival DOUBLE NOT NULL, host INTEGER NOT NULL, id VARCHAR,
        source INTEGER NOT NULL, source_address VARCHAR, source_port INTEGER NOT NULL,
        destination INTEGER NOT NULL, destination_address VARCHAR, destination_port INTEGER NOT NULL,
        protocol INTEGER NOT NULL, verdict INTEGER NOT NULL, egress_reason INTEGER NOT NULL, ingress_reason INTEGER NOT NULL,
        drop_reason INTEGER NOT NULL, question VARCHAR, revision DOUBLE NOT NULL, first_ms DOUBLE NOT NULL, last_ms DOUBLE NOT NULL,
        packets_out DOUBLE NOT NULL, packets_in DOUBLE NOT NULL, bytes_out DOUBLE NOT NULL, bytes_in DOUBLE NOT NULL, state INTEGER NOT NULL);
      CREATE TABLE ends (number INTEGER NOT NULL, workload VARCHAR, identity DOUBLE NOT NULL, name VARCHAR, labels VARCHAR NOT NULL, segments VARCHAR NOT NULL);
      CREATE TABLE texts (number INTEGER NOT NULL, text VARCHAR NOT NULL);
      CREATE TABLE versions (version INTEGER NOT NULL);
      INSERT INTO versions VALUES (1);
      INSERT INTO texts VALUES (1, 'h1'), (2, 'application/p/r');
      INSERT INTO ends VALUES (3, 'h1/docker/1', 256, 'web', '{"app":"web"}', '|web|'), (4, NULL, 2, NULL, '{}', ' ');
      INSERT INTO flows VALUES (1, 1, 'old', 3, '10.0.0.1', 40000, 4, '192.0.2.1', 443, 6, 0, 2, 2, 0, NULL, 7, 1, 2, 1, 1, 60, 60, 2);`);
    connection.closeSync();
    instance.closeSync();
    const database = await FlowDatabase.open(path);
    try {
      const request = { kind: 'query', filter: {}, sort: 'newest', cursor: null, limit: 10, scope: null } as const;
      const { items } = await database.query(request);
      assert.deepEqual(
        items.map(({ id, staged, source, destination }) => [id, staged, source.labels, destination.names]),
        [['old', null, { app: 'web' }, undefined]],
      );
    } finally {
      await database.close();
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('what is learnt while a batch is being written is there for its own batch', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-flows-'));
  const database = await FlowDatabase.open(join(directory, 'flows.duckdb'));
  try {
    const encoder = new FlowEncoder(inventoryOf(50), await database.nextNumber());
    const request = (number: number): AppendRequest => {
      const encoded = encoder.encode('h1', [flowNumber(number, { id: `flow-${number}` })]);
      database.learn(encoded.ends, encoded.texts);
      return { kind: 'append', host: 'h1', boot: 'b', batch: number, lost: 0, ...encoded };
    };
    const progress = { isWritten: false };
    const first = database.append([request(1)]).then(() => (progress.isWritten = true));
    // In every turn until the first is committed another batch brings ends that are news.
    const later: AppendRequest[] = [];
    for (let number = 2; !progress.isWritten && number < 40; number += 1) {
      later.push(request(number));
      await new Promise(setImmediate);
    }
    await first;
    await database.append(later);
    const everything = { kind: 'query', filter: {}, sort: 'newest', cursor: null, limit: 50, scope: null } as const;
    const { items } = await database.query(everything);
    assert.equal(items.length, 1 + later.length);
    assert.ok(items.every(({ source }) => source.name !== null));
  } finally {
    await database.close();
    rmSync(directory, { recursive: true });
  }
});
