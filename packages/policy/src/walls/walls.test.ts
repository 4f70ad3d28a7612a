import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AdmitCommand, ContactEnd, WallCommand, WallOutcome } from './commands.ts';
import { type WallLimits, wallLimits } from './limits.ts';
import { conflictPairs, type WallRule } from './wall.ts';
import { Walls } from './walls.ts';

const wall = (name: string, scope: WallRule['scope'], more: Partial<WallRule> = {}): WallRule => ({
  name,
  scope,
  readings: [],
  sanitizers: [],
  pairs: [['buy', 'sell']],
  ...more,
});
const signals = wall('signals', 'history', { sanitizers: ['dns'] });

const workload = (name: string, epoch = 1): ContactEnd => ({ kind: 'workload', workload: name, epoch });
const store = (name: string): ContactEnd => ({ kind: 'store', name });
const volume = (name: string): ContactEnd => ({ kind: 'volume', name });

/** Walls with a clock that goes on by one millisecond a command. */
class Scene {
  readonly walls: Walls;
  atMs = 1_000;
  #contacts = 0;

  constructor(rules: readonly WallRule[] = [signals], limits: WallLimits = wallLimits) {
    this.walls = Walls.empty(limits);
    const datasets = [
      ['buy-db', 'buy'],
      ['sell-db', 'sell'],
      ['news-db', 'news'],
    ] as const;
    this.apply({ kind: 'configure', configuration: { walls: rules, datasets } });
    for (const name of ['buy', 'sell', 'news'])
      this.apply({ kind: 'place', place: { kind: 'store', name }, segments: [`${name}-db`] });
    this.apply({ kind: 'place', place: { kind: 'volume', name: 'shared' }, segments: [] });
    for (const name of ['trader', 'broker', 'relay']) this.start(name, 1);
    this.start('resolver', 1, { segments: ['dns'] });
  }

  apply(command: WallCommand): WallOutcome {
    return this.walls.apply(command, { revision: 7, atMs: this.atMs++ });
  }

  start(name: string, epoch: number, more: Partial<WallCommand & { kind: 'start' }> = {}): WallOutcome {
    return this.apply({
      kind: 'start',
      workload: name,
      epoch,
      image: 'sha256:1',
      afresh: true,
      segments: [],
      sessions: [],
      observed: false,
      ...more,
    });
  }

  admit(from: ContactEnd, to: ContactEnd, more: Partial<AdmitCommand> = {}): WallOutcome {
    const contact = `c${this.#contacts++}`;
    const medium = to.kind === 'volume' ? 'mount' : 'connection';
    return this.apply({ kind: 'admit', contact, medium, from, to, transaction: null, observed: false, ...more });
  }
}

function refusal(outcome: WallOutcome) {
  assert.equal(outcome.kind, 'refused');
  assert.ok(outcome.kind === 'refused');
  return outcome.refusal;
}

describe('walls over history', () => {
  test('the same database, tried directly, is refused to the other side', () => {
    const scene = new Scene();
    assert.equal(scene.admit(workload('trader'), store('buy')).kind, 'admitted');
    assert.equal(refusal(scene.admit(workload('trader'), store('sell'))).because, 'conflict');
    assert.equal(scene.admit(workload('trader'), store('news')).kind, 'admitted');
  });

  test('a third container launders nothing, and the refusal tells the way', () => {
    const scene = new Scene();
    scene.admit(workload('trader'), store('buy'));
    scene.admit(workload('trader'), workload('relay'));
    const refused = refusal(scene.admit(workload('relay'), store('sell')));
    assert.ok(refused.because === 'conflict');
    const [conflict] = refused.conflicts;
    assert.equal(conflict!.wall, 'signals');
    assert.deepEqual(conflict!.between, ['buy', 'sell']);
    const [buy, sell] = conflict!.chains;
    assert.deepEqual(
      buy.steps.map(({ source, contact, revision }) => [contact, source, revision]),
      [
        ['c1', 'workload/trader@1', 7],
        ['c0', 'store/buy', 7],
      ],
    );
    assert.deepEqual([sell.subject, sell.steps, sell.whole], ['store/sell', [], true]);
  });

  test('nor does a shared volume, after everybody let go of it', () => {
    const scene = new Scene();
    scene.admit(workload('trader'), store('buy'));
    scene.admit(workload('trader'), volume('shared'), { contact: 'mount' });
    scene.apply({ kind: 'closed', contact: 'mount' });
    scene.admit(workload('broker'), volume('shared'));
    assert.equal(refusal(scene.admit(workload('broker'), store('sell'))).because, 'conflict');
  });

  test('an old connection counts until its revocation is acknowledged', () => {
    const scene = new Scene();
    scene.admit(workload('trader'), workload('relay'), { contact: 'old' });
    scene.apply({ kind: 'confirm', contact: 'old' });
    scene.apply({ kind: 'revoke', contact: 'old' });
    scene.admit(workload('relay'), store('sell'));
    assert.equal(refusal(scene.admit(workload('trader'), store('buy'))).because, 'conflict');
    scene.apply({ kind: 'closed', contact: 'old' });
    assert.equal(refusal(scene.admit(workload('trader'), store('buy'))).because, 'conflict', 'it knows already');
  });

  test('a restart afresh clears memory alone: mounted volumes and kept sessions stay', () => {
    const scene = new Scene();
    scene.admit(workload('trader'), store('buy'), { contact: 'session' });
    scene.start('trader', 2, { sessions: ['session'] });
    assert.equal(refusal(scene.admit(workload('trader', 2), store('sell'))).because, 'conflict');
    scene.apply({ kind: 'closed', contact: 'session' });
    scene.start('trader', 3, { afresh: false });
    assert.equal(refusal(scene.admit(workload('trader', 3), store('sell'))).because, 'conflict');
    scene.start('trader', 4);
    assert.deepEqual(scene.walls.taint('workload/trader@4'), []);
    assert.equal(scene.admit(workload('trader', 4), store('sell')).kind, 'admitted');
    assert.equal(refusal(scene.admit(workload('trader', 3), store('sell'))).because, 'stale-generation');
  });

  test('a sanitizer is exempt and named, and one that is itself a dataset is none', () => {
    const scene = new Scene();
    const asked = scene.admit(workload('trader'), workload('resolver'));
    assert.deepEqual(asked.kind === 'admitted' && asked.exempt, ['signals']);
    scene.admit(workload('trader'), store('buy'));
    assert.equal(scene.admit(workload('resolver'), store('sell')).kind, 'admitted');
    scene.start('false-resolver', 1, { segments: ['dns', 'sell-db'] });
    assert.equal(refusal(scene.admit(workload('trader'), workload('false-resolver'))).because, 'conflict');
  });

  test('a fact is recorded and told as a breach', () => {
    const scene = new Scene();
    scene.admit(workload('trader'), store('buy'));
    const seen = scene.admit(workload('trader'), store('sell'), { observed: true });
    assert.equal(seen.kind === 'recorded' && seen.breaches.length, 1);
    assert.equal(scene.walls.breaches().length, 1);
    assert.equal(refusal(scene.admit(workload('trader'), store('news'))).because, 'conflict');
  });

  test('judging changes nothing', () => {
    const scene = new Scene();
    const before = JSON.stringify(scene.walls.snapshot());
    const command = { kind: 'admit', contact: 'x', medium: 'connection', transaction: null, observed: false } as const;
    const judged = scene.walls.judge({ ...command, from: workload('trader'), to: store('buy') });
    assert.equal(judged.kind, 'admitted');
    assert.equal(JSON.stringify(scene.walls.snapshot()), before);
  });
});

describe('break-glass', () => {
  const ask = {
    kind: 'override',
    override: 'o',
    wall: 'signals',
    between: ['sell', 'buy'],
    because: 'incident',
  } as const;

  test('two people, an end, and a mark on everything that passed', () => {
    const scene = new Scene();
    scene.admit(workload('trader'), store('buy'));
    scene.apply({ ...ask, workloads: ['trader'], by: 'eve', expiresAtMs: scene.atMs + 50 });
    scene.apply({ kind: 'approve', override: 'o', by: 'eve' });
    assert.equal(scene.apply({ kind: 'approve', override: 'o', by: 'eve' }).kind, 'refused');
    assert.equal(scene.admit(workload('trader'), store('sell')).kind, 'refused');
    scene.apply({ kind: 'approve', override: 'o', by: 'adam' });
    const passed = scene.admit(workload('trader'), store('sell'), { contact: 'broken' });
    assert.deepEqual(passed.kind === 'admitted' && passed.overrides, ['o']);
    const sell = scene.walls.taint('workload/trader@1')!.find(({ dataset }) => dataset === 'sell');
    assert.deepEqual(sell!.steps[0]!.overrides, ['o']);
    scene.atMs += 100;
    assert.equal(refusal(scene.admit(workload('trader'), store('news'))).because, 'conflict');
    assert.equal([...scene.walls.overrides()][0]!.uses, 1);
  });
});

describe('walls over transactions', () => {
  const apart = wall('apart', 'transaction', { readings: ['roles-apart'] });
  const never = wall('never', 'transaction', { readings: ['never-both'] });
  const begin = { kind: 'begin', transaction: 't', expiresAtMs: 5_000 } as const;

  test('roles stay apart, and a store in the middle is no way around', () => {
    const scene = new Scene([apart]);
    scene.apply({
      ...begin,
      wall: 'apart',
      roles: [
        ['buy', ['trader']],
        ['sell', ['broker']],
      ],
    });
    scene.admit(workload('trader'), store('news'), { contact: 'first' });
    scene.apply({ kind: 'closed', contact: 'first' });
    const refused = refusal(scene.admit(workload('broker'), store('news')));
    assert.ok(refused.because === 'conflict');
    assert.equal(refused.conflicts[0]!.transaction, 't');
    scene.apply({ kind: 'end', transaction: 't' });
    assert.equal(scene.admit(workload('broker'), store('news')).kind, 'admitted');
  });

  test('one transaction never meets both, whoever of it does, and the next may', () => {
    const scene = new Scene([never]);
    scene.apply({ ...begin, wall: 'never', roles: [['any', ['trader', 'broker']]] });
    scene.admit(workload('trader'), store('buy'), { contact: 'first' });
    scene.apply({ kind: 'closed', contact: 'first' });
    assert.equal(refusal(scene.admit(workload('broker'), store('sell'))).because, 'conflict');
    scene.apply({ kind: 'end', transaction: 't' });
    scene.apply({ ...begin, wall: 'never', roles: [['any', ['trader', 'broker']]] });
    assert.equal(scene.admit(workload('broker'), store('sell')).kind, 'admitted');
  });

  test('an expired one denies its workloads until somebody reconciles it', () => {
    const scene = new Scene([apart]);
    scene.apply({ ...begin, wall: 'apart', roles: [['buy', ['trader']]] });
    scene.atMs = 6_000;
    assert.equal(refusal(scene.admit(workload('trader'), store('news'))).because, 'expired');
    assert.equal(refusal(scene.apply({ kind: 'end', transaction: 't' })).because, 'expired');
    assert.equal(scene.apply({ kind: 'reconcile', transaction: 't', by: 'eve' }).kind, 'recorded');
    assert.equal(scene.admit(workload('trader'), store('news')).kind, 'admitted');
  });

  test('a contact that is attributed to one transaction is of that one alone, which remembers it', () => {
    const scene = new Scene([apart]);
    scene.apply({ ...begin, wall: 'apart', roles: [['buy', ['trader']]] });
    scene.apply({
      ...begin,
      transaction: 'u',
      wall: 'apart',
      roles: [
        ['buy', ['trader', 'relay']],
        ['sell', ['broker']],
      ],
    });
    scene.admit(workload('trader'), store('news'), { transaction: 't', contact: 'tagged' });
    scene.apply({ kind: 'closed', contact: 'tagged' });
    assert.equal(scene.admit(workload('broker'), store('news')).kind, 'admitted', 'news has met t, not u');
    const again = refusal(scene.admit(workload('trader'), store('news')));
    assert.equal(again.because, 'conflict', 'without a tag it is a contact of u as well');
    // The part in t meets the role of u, and takes it along although the contact is over.
    scene.admit(workload('trader'), store('news'), { transaction: 't', contact: 'second' });
    scene.apply({ kind: 'closed', contact: 'second' });
    assert.equal(refusal(scene.admit(workload('trader'), workload('relay'), { transaction: 't' })).because, 'conflict');
  });
});

describe('bounds', () => {
  test('a request beyond a bound is refused', () => {
    const scene = new Scene([signals], { ...wallLimits, contactsMax: 1 });
    assert.equal(scene.admit(workload('trader'), store('buy')).kind, 'admitted');
    assert.deepEqual(refusal(scene.admit(workload('trader'), store('news'))), {
      because: 'limit',
      limit: 'contactsMax',
      max: 1,
    });
    assert.equal(scene.admit(workload('trader'), store('news'), { observed: true }).kind, 'recorded');
  });

  test('a component that is too expensive to split stays whole until it is settled', () => {
    const scene = new Scene([signals], { ...wallLimits, splitVisitsMax: 1 });
    scene.admit(workload('trader'), volume('shared'));
    scene.admit(workload('broker'), workload('relay'));
    scene.admit(workload('trader'), workload('broker'), { contact: 'bridge' });
    scene.apply({ kind: 'closed', contact: 'bridge' });
    scene.admit(workload('relay'), store('sell'));
    assert.equal(refusal(scene.admit(workload('trader'), store('buy'))).because, 'conflict', 'still counted as joined');
    const other = new Scene([signals], { ...wallLimits, splitVisitsMax: 1 });
    other.admit(workload('trader'), volume('shared'));
    other.admit(workload('broker'), workload('relay'));
    other.admit(workload('trader'), workload('broker'), { contact: 'bridge' });
    other.apply({ kind: 'closed', contact: 'bridge' });
    other.apply({ kind: 'settle' });
    other.admit(workload('relay'), store('sell'));
    assert.equal(other.admit(workload('trader'), store('buy')).kind, 'admitted');
  });

  test('the history of a taint is cut off, and says so', () => {
    const scene = new Scene([signals], { ...wallLimits, chainStepsMax: 2 });
    scene.admit(workload('trader'), store('buy'));
    scene.admit(workload('broker'), workload('trader'));
    scene.admit(workload('relay'), workload('broker'));
    const [taint] = scene.walls.taint('workload/relay@1')!;
    assert.equal(taint!.whole, false);
  });

  test('classes are all their pairs, each once', () => {
    assert.deepEqual(conflictPairs([['b', 'a']], [['a', 'b', 'c']]), [
      ['a', 'b'],
      ['a', 'c'],
      ['b', 'c'],
    ]);
  });
});
