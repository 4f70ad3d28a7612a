import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSqliteStreams } from '../store/sqlite-streams.ts';
import { Presence } from '../hosts/presence.ts';
import { Divergences, divergencesPerHostMax } from './divergences.ts';
import type { DivergenceRecord, ReceiptMessage } from '@bulkhead/protocol';

const record = (id: string, change: Partial<DivergenceRecord> = {}): DivergenceRecord => ({
  id,
  kind: 'undeclared-port',
  workload: 'h1/docker/a',
  believed: 'none',
  observed: '22',
  evidence: 'SYN',
  firstMs: 1,
  lastMs: 1,
  count: 1,
  resolved: false,
  ...change,
});

test('the newest state of each divergence, by pages, and after a restart', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-divergences-'));
  try {
    const open = () => openSqliteStreams(join(directory, 'streams.sqlite'), () => 1);
    {
      await using streams = open();
      const divergences = await Divergences.open(streams);
      await divergences.append('h1', [
        record('a'),
        record('b', { lastMs: 2 }),
        record('c', { lastMs: 2, kind: 'spoofing' }),
      ]);
      await divergences.append('h1', [
        record('a', { lastMs: 3, count: 2 }),
        record('b', { lastMs: 4, resolved: true }),
      ]);
      await divergences.append('h2', [record('a', { workload: null })]);
    }
    await using streams = open();
    const divergences = await Divergences.open(streams);
    assert.equal(divergences.openCount(), 3);
    const all = { limit: 2, scope: null };
    const first = divergences.list({}, all, () => true);
    assert.deepEqual(
      first.items.map(({ host, id, count }) => [host, id, count]),
      [
        ['h1', 'a', 2],
        ['h1', 'c', 1],
      ],
    );
    const second = divergences.list({}, { ...all, cursor: first.cursor! }, () => true);
    assert.deepEqual([second.items.map(({ host }) => host), second.cursor], [['h2'], null]);
    assert.equal(divergences.list({ resolved: true }, { limit: 9, scope: null }, () => true).items.length, 4);
    assert.deepEqual(
      divergences.list({ kind: 'spoofing' }, all, () => true).items.map(({ id }) => id),
      ['c'],
    );
    assert.deepEqual(
      divergences.list({}, all, (workload) => workload === null).items.map(({ host }) => host),
      ['h2'],
    );
    assert.equal(divergences.list({}, { ...all, cursor: 'not ours' }, () => true).items.length, 2);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('receipts are there after a restart, and the oldest host bounds what is confirmed', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-presence-'));
  const receipt = (revision: number): ReceiptMessage => {
    const auditHead = { sequence: revision, hash: 'h', signature: 's' };
    return { revision, enforcedMs: 1, atMs: 1, endpoints: 0, rows: 0, failed: [], auditHead };
  };
  try {
    const open = () => openSqliteStreams(join(directory, 'streams.sqlite'), () => 1);
    {
      await using streams = open();
      const presence = await Presence.open(streams, () => 1);
      await presence.receipt('h1', receipt(4));
      await presence.receipt('h1', receipt(7));
      await presence.receipt('h2', receipt(5));
    }
    await using streams = open();
    const presence = await Presence.open(streams, () => 2);
    assert.equal(presence.confirmedRevision(['h1', 'h2']), 5);
    assert.equal(presence.confirmedRevision(['h1', 'h3']), 0, 'a host that never said anything may enforce anything');
    assert.deepEqual(
      presence.witnesses().map(({ sequence }) => sequence),
      [7, 5],
    );
    assert.equal(presence.of('h1').connectedSinceMs, null);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a host speaks of its own workloads, and crowds out nobody else’s evidence', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-divergences-'));
  try {
    await using streams = openSqliteStreams(join(directory, 'streams.sqlite'), () => 1);
    const divergences = await Divergences.open(streams);
    await divergences.append('h1', [record('evidence')]);
    await divergences.append('h2', [record('slander', { workload: 'h1/docker/a' })]);
    const flood = Array.from({ length: divergencesPerHostMax + 10 }, (_, index) =>
      record(`f${index}`, { workload: 'h2/docker/b' }),
    );
    await divergences.append('h2', flood);
    const all = { limit: divergencesPerHostMax + 20, scope: null };
    const listed = divergences.list({}, all, () => true).items;
    assert.equal(listed.filter(({ host }) => host === 'h2').length, divergencesPerHostMax);
    assert.deepEqual(
      listed.filter(({ workload }) => workload === 'h1/docker/a').map(({ host, id }) => [host, id]),
      [['h1', 'evidence']],
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});
