import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { FlowFilter, FlowRecord, FlowSort, StoredFlow } from '@bulkhead/protocol';
import fc from 'fast-check';
import { DuckFlowStore } from './flow-store.ts';
import { flowMatcher } from './matcher.ts';
import type { Retention } from './messages.ts';
import { flowNumber, inventoryOf } from './testing/flows.ts';

const directory = mkdtempSync(join(tmpdir(), 'bulkhead-flows-'));
after(() => rmSync(directory, { recursive: true }));
let files = 0;
const newFile = (): string => join(directory, `${(files += 1)}.duckdb`);
const unlimited: Retention = { ageMsMax: Number.MAX_SAFE_INTEGER, bytesMax: Number.MAX_SAFE_INTEGER };

function openStore(path: string, retention = unlimited): Promise<DuckFlowStore> {
  const onFault = (error: unknown): never => {
    throw error;
  };
  return DuckFlowStore.open({ path, inventory: inventoryOf(50), retention, after: () => () => undefined, onFault });
}

const some = (count: number, from = 0): FlowRecord[] =>
  Array.from({ length: count }, (_, place) => flowNumber(from + place));
const everything = { limit: 1_000, scope: null };

async function all(
  store: DuckFlowStore,
  filter: FlowFilter = {},
  sort: FlowSort = 'oldest',
  scope: string[] | null = null,
  limit = 300,
): Promise<StoredFlow[]> {
  const items: StoredFlow[] = [];
  let cursor: string | null = null;
  do {
    const page = await store.query(filter, sort, { limit, scope, ...(cursor === null ? {} : { cursor }) });
    items.push(...page.items);
    cursor = page.cursor;
  } while (cursor !== null);
  return items;
}

test('what is stored comes back whole, with names, labels and segments of that moment', async () => {
  await using store = await openStore(newFile());
  const flows = some(500);
  await store.append('h1', { boot: 'b', number: 0, lost: 3 }, flows);
  const back = await all(store);
  assert.deepEqual(
    back.map(({ host: _host, source, destination, ...rest }) => ({ ...rest, ...bare(source, destination) })),
    flows.map((flow) => ({ ...flow, ...bare(flow.source, flow.destination) })),
  );
  assert.deepEqual(back[1]?.source.labels, { app: 'app-1', env: 'prod' });
  assert.deepEqual([back[1]?.source.name, back[1]?.source.segments, back[1]?.host], ['web-1', ['segment-1'], 'h1']);
  assert.deepEqual([back[0]?.destination.name, back[0]?.destination.segments], [null, []]);
  assert.deepEqual(store.counts(), { stored: 500, lost: 3, expired: 0 });
});

function bare(
  source: FlowRecord['source'],
  destination: FlowRecord['source'],
): Pick<FlowRecord, 'source' | 'destination'> {
  const strip = ({ workload, identity, address, port }: FlowRecord['source']): FlowRecord['source'] => ({
    workload,
    identity,
    address,
    port,
  });
  return { source: strip(source), destination: strip(destination) };
}

test('pages go through everything once in each order', async () => {
  await using store = await openStore(newFile());
  await store.append(
    'h1',
    { boot: 'b', number: 0, lost: 0 },
    some(2_500).map((flow) => ({ ...flow, firstMs: Math.floor(flow.firstMs / 1_000) * 1_000 })),
  );
  for (const [sort, value] of [
    ['newest', (flow) => -flow.firstMs],
    ['oldest', (flow) => flow.firstMs],
    ['bytes', (flow) => -flow.bytes[0] - flow.bytes[1]],
  ] as [FlowSort, (flow: StoredFlow) => number][]) {
    const items = await all(store, {}, sort, null, 77);
    assert.equal(new Set(items.map(({ id }) => id)).size, 2_500);
    assert.ok(
      items.every((flow, place) => place === 0 || value(items[place - 1]!) <= value(flow)),
      sort,
    );
  }
  assert.deepEqual(await store.query({}, 'newest', { ...everything, cursor: 'nonsense' }), { items: [], cursor: null });
});

test('a batch that is repeated is stored once, also after a restart; a later record replaces the earlier one', async () => {
  const file = newFile();
  {
    await using store = await openStore(file);
    await store.append('h1', { boot: 'b', number: 4, lost: 1 }, [
      flowNumber(1, { state: 'new' }),
      flowNumber(2, { state: 'new' }),
    ]);
    await store.append('h1', { boot: 'b', number: 4, lost: 1 }, some(50));
    await store.append('h1', { boot: 'b', number: 5, lost: 0 }, [
      flowNumber(1, { state: 'open', bytes: [1, 1] }),
      flowNumber(3, { state: 'new' }),
      flowNumber(3, { state: 'closed' }),
    ]);
    assert.deepEqual(
      (await all(store)).map(({ id, state }) => `${id.slice(11)} ${state}`),
      ['1 open', '2 new', '3 closed'],
    );
  }
  await using store = await openStore(file);
  await store.append('h1', { boot: 'b', number: 5, lost: 9 }, some(50));
  await store.append('h2', { boot: 'b', number: 5, lost: 0 }, [flowNumber(1, { state: 'open' })]);
  await store.append('h1', { boot: 'b', number: 6, lost: 0 }, [flowNumber(1, { bytes: [7, 7] })]);
  assert.deepEqual(
    (await all(store)).map(({ id, state, host }) => `${host} ${id.slice(11)} ${state}`),
    ['h2 1 open', 'h1 1 closed', 'h1 2 new', 'h1 3 closed'],
  );
  assert.deepEqual(store.counts(), { stored: 7, lost: 1, expired: 0 });
});

test('searching and watching mean the same', async () => {
  await using store = await openStore(newFile());
  const flows = some(1_000);
  const seen: StoredFlow[] = [];
  const stop = store.watch({}, null, (stored) => seen.push(...stored));
  await store.append('h1', { boot: 'b', number: 0, lost: 0 }, flows);
  stop();
  await store.append('h1', { boot: 'b', number: 1, lost: 0 }, []);
  const optional = <Value>(value: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
    fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value });
  const name = fc.constantFrom('web-1', 'h1/docker/8', 'web-77', 'nobody', "'; DROP TABLE flows; --");
  const time = fc.integer({ min: 1_700_000_000_000, max: 1_700_000_011_000 });
  const filter = fc.record({
    workload: optional(name),
    source: optional(name),
    destination: optional(name),
    segment: optional(fc.constantFrom('segment-1', 'segment', '')),
    address: optional(fc.constantFrom('10.0.0.1', '192.0.2.11')),
    host: optional(fc.constantFrom('h1', 'h2')),
    verdict: optional(fc.constantFrom('allow', 'deny', 'reject')),
    protocol: optional(fc.constantFrom(6, 17)),
    port: optional(fc.constantFrom(8080, 443)),
    reason: optional(fc.constantFrom('posture', 'web/out', 'x%')),
    dropReason: optional(fc.constant('spoofed')),
    staged: optional(fc.boolean()),
    sinceMs: optional(time),
    untilMs: optional(time),
  });
  const scope = fc.oneof(fc.constant(null), fc.subarray(['segment-1', 'segment-2', 'other']));
  await fc.assert(
    fc.asyncProperty(filter, scope, async (given, segments) => {
      const matches = flowMatcher(given as FlowFilter, segments);
      assert.deepEqual(await all(store, given as FlowFilter, 'oldest', segments), seen.filter(matches));
    }),
    { numRuns: 150 },
  );
});

test('any text is stored as it is, and an odd batch harms no other', async () => {
  await using store = await openStore(newFile());
  let batch = 0;
  const text = fc.string({ unit: 'binary', maxLength: 45 });
  await fc.assert(
    fc.asyncProperty(text, text, text, async (id, address, reason) => {
      const flow = flowNumber(3, {
        id,
        egressReason: reason,
        source: { workload: address, identity: 2 ** 40, address, port: 1 },
      });
      await Promise.all([
        store.append('h1', { boot: 'b', number: (batch += 1), lost: 0 }, [flow]),
        store.append('h2', { boot: 'b', number: batch, lost: 0 }, some(3)),
      ]);
    }),
    { numRuns: 60 },
  );
  const flow = flowNumber(7, { id: 'ü😀"\\', egressReason: '', question: null });
  await store.append('h3', { boot: 'b', number: 1, lost: 0 }, [flow]);
  const [back] = (await store.query({ host: 'h3' }, 'newest', everything)).items;
  assert.deepEqual([back?.id, back?.egressReason, back?.question], [flow.id, '', null]);
});

test('retention removes what is too old and what is too much, and the file stops growing', async () => {
  const file = newFile();
  await using store = await openStore(file, { ageMsMax: 3_600_000, bytesMax: 12 * 2 ** 20 });
  const now = Date.now();
  const fresh = (number: number): FlowRecord =>
    flowNumber(number, { id: `${number}-${'x'.repeat(40)}${(number * 7_919) % 100_003}`, firstMs: now, lastMs: now });
  await store.append('h1', { boot: 'b', number: 0, lost: 0 }, [
    ...some(100),
    ...Array.from({ length: 50 }, (_, place) => fresh(1_000 + place)),
  ]);
  await store.retain();
  assert.equal((await all(store)).length, 50);
  assert.equal(store.counts().expired, 100);
  for (let batch = 1; batch <= 30; batch += 1) {
    await store.append(
      'h1',
      { boot: 'b', number: batch, lost: 0 },
      Array.from({ length: 20_000 }, (_, place) => fresh(batch * 20_000 + place)),
    );
    await store.retain();
  }
  assert.ok(store.counts().expired > 100, 'the oldest went');
  assert.ok(statSync(file).size < 40 * 2 ** 20, `${statSync(file).size} bytes`);
  const newest = await store.query({}, 'newest', { limit: 1, scope: null });
  assert.equal(newest.items.length, 1);
});

test('kill -9: every batch that was acknowledged is there once, whole', async (context) => {
  const file = newFile();
  const program = fileURLToPath(new URL('testing/appender.ts', import.meta.url));
  const acknowledged = new Map<string, number>();
  for (let round = 0; round < 5; round += 1) {
    const child = spawn(process.execPath, [program, file, `boot${round}`, '100'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.length > 40 + round * 60) child.kill('SIGKILL');
    });
    await new Promise((resolve) => child.on('close', resolve));
    assert.equal(child.signalCode, 'SIGKILL');
    acknowledged.set(`boot${round}`, text.slice(0, text.lastIndexOf('\n')).split('\n').length);
  }
  await using store = await openStore(file);
  const ids = (await all(store, {}, 'oldest', null, 1_000)).map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, 'nothing twice');
  for (const [boot, batches] of acknowledged) {
    const count = ids.filter((id) => id.startsWith(`${boot}-`)).length;
    assert.ok(count >= batches * 100 && count % 100 === 0, `${boot}: ${batches} batches acknowledged, ${count} flows`);
  }
  context.diagnostic(
    `${[...acknowledged.values()].join(' + ')} batches acknowledged before 5 kills, ${ids.length} flows there`,
  );
  assert.equal(store.counts().stored, ids.length);
  assert.equal(store.counts().lost, ids.length / 100);
});

test('a store that is closed says so', async () => {
  const store = await openStore(newFile());
  await store[Symbol.asyncDispose]();
  await assert.rejects(store.append('h1', { boot: 'b', number: 1, lost: 0 }, some(1)), /closed/);
  await assert.rejects(openStore(join(directory, 'no/such/place')), /does not open/);
});

test('a host that speaks of two other hosts’ workloads says nothing about them', async () => {
  await using store = await openStore(newFile());
  const seen: StoredFlow[] = [];
  store.watch({ workload: 'h1/docker/1' }, null, (flows) => seen.push(...flows));
  await store.append('h', { boot: 'b', number: 0, lost: 0 }, [flowNumber(1)]);
  await store.append('h2', { boot: 'b', number: 0, lost: 0 }, [
    flowNumber(1, { id: 'own', destination: { workload: 'h2/docker/x', identity: 300, address: '10.9.0.1', port: 1 } }),
  ]);
  assert.deepEqual(
    (await all(store, { workload: 'h1/docker/1' })).map(({ id }) => id),
    ['own'],
  );
  assert.deepEqual(
    seen.map(({ id }) => id),
    ['own'],
  );
  const [slander] = await all(store, { host: 'h' });
  assert.deepEqual([slander?.source.workload, slander?.source.name, slander?.source.segments], [null, null, []]);
  assert.equal(slander?.source.address, flowNumber(1).source.address);
});

test('groups count what policy cannot tell apart, and leave out what policy did not decide', async () => {
  await using store = await openStore(newFile());
  assert.deepEqual(await store.group({}, null), { flows: { parties: [], reasons: [], batches: [] }, dropped: 0 });
  const flows = some(1_500).map((flow, place) => ({
    ...flow,
    dropReason: place % 40 === 0 ? 'spoofed' : place % 41 === 0 ? 'observed' : null,
  }));
  await store.append('h1', { boot: 'b', number: 0, lost: 0 }, flows);
  const stored = await all(store);
  const judged = stored.filter(({ dropReason }) => dropReason !== 'spoofed');
  const grouped = await store.group({}, null);
  assert.ok(grouped !== null);
  assert.equal(grouped.dropped, stored.length - judged.length);
  const text = (end: StoredFlow['source']): string =>
    end.workload === null ? end.address : JSON.stringify([end.name, end.labels]);
  const expected = new Map<string, number>();
  for (const flow of judged) {
    const key = JSON.stringify([
      ...[text(flow.source), text(flow.destination), flow.protocol, flow.destination.port, flow.verdict],
      ...[flow.question !== null, flow.egressReason, flow.ingressReason],
    ]);
    expected.set(key, (expected.get(key) ?? 0) + 1);
  }
  const { parties, reasons, batches } = grouped.flows;
  const name = (place: number): string => {
    const party = parties[place]!;
    if (party.kind === 'address') return party.address;
    return party.kind === 'workload' ? JSON.stringify([party.name, party.labels]) : party.kind;
  };
  const found = new Map<string, number>();
  for (const batch of batches) {
    for (let row = 0; row < batch.length; row += 1) {
      const key = JSON.stringify([
        ...[name(batch.source[row]!), name(batch.destination[row]!), batch.protocol[row], batch.port[row]],
        ...[['allow', 'deny', 'reject'][batch.verdict[row]!], batch.asked[row] === 1],
        ...[reasons[batch.egressReason[row]!], reasons[batch.ingressReason[row]!]],
      ]);
      assert.ok(!found.has(key), key);
      found.set(key, batch.count[row]!);
    }
  }
  assert.deepEqual(new Map([...found].toSorted()), new Map([...expected].toSorted()));
  const one = await store.group({ segment: 'segment-3' }, ['segment-3']);
  assert.ok(one !== null && one.flows.batches[0]!.length < batches[0]!.length);
});
