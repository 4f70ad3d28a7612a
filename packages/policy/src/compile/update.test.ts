import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideSide } from '../decide/decide.ts';
import type { Document } from '../documents/document.ts';
import {
  cidrPeerFirst,
  type CompiledDirection,
  type Direction,
  factPrefix,
  type IdentityId,
  type Labels,
  type PeerId,
} from '../model.ts';
import { createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { generateChange } from '../testing/changes.ts';
import {
  type CompiledWorld,
  describeTables,
  generateProbes,
  peerOf,
  prefixPeers,
  tablesMet,
} from '../testing/compiled.ts';
import {
  generateAddress,
  generateDocuments,
  generateHostLabels,
  generateIdentities,
  generateNames,
  type Random,
  seededRandom,
} from '../testing/generate.ts';
import { type Compiler, createCompiler } from './compiler.ts';
import type { Learnt } from './learnt.ts';
import type { CompilerUpdate, DirectionChange } from './update.ts';

const options = { checkCondition: () => null };

function policySetOf(documents: readonly Document[]): PolicySet {
  const result = createPolicySet(documents, options);
  if (result.kind === 'refused') assert.fail(JSON.stringify(result.problems));
  return result.policySet;
}

function assertAsDecided(random: Random, compiler: Compiler, world: CompiledWorld, probes: number): void {
  for (const { direction, compiled, flow } of generateProbes(random, compiler, world, probes)) {
    assert.deepEqual(compiled, decideSide(world.policySet, direction, flow));
  }
}

function keys(tables: CompiledDirection): Map<PeerId | 'others', string> {
  return new Map<PeerId | 'others', string>([
    ...[...tables.rows].map(([peer, { key }]) => [peer, key] as const),
    ['others', tables.others.key],
  ]);
}

/** What a follower of the updates has: the tables by their keys. */
type Followed = Map<IdentityId, Record<Direction, Map<PeerId | 'others', string>>>;

function follow(followed: Followed, cidrs: Map<PeerId, string>, update: CompilerUpdate): void {
  for (const change of update.subjects) {
    if (change.kind === 'removed') {
      assert.ok(followed.delete(change.identity));
      continue;
    }
    if (change.kind === 'added') followed.set(change.identity, { egress: new Map(), ingress: new Map() });
    for (const direction of ['egress', 'ingress'] as const) {
      const rows: Map<PeerId | 'others', string> = followed.get(change.identity)![direction];
      for (const { peer, before, after } of change[direction].rows) {
        assert.equal(rows.get(peer) ?? null, before?.key ?? null, 'the row before');
        if (after === null) rows.delete(peer);
        else rows.set(peer, after.key);
      }
      const others: DirectionChange['others'] = change[direction].others;
      if (others === null) continue;
      assert.equal(rows.get('others') ?? null, others.before?.key ?? null);
      rows.set('others', others.after.key);
    }
  }
  for (const { peer, cidr } of update.cidrs.removed) {
    assert.equal(cidrs.get(peer), cidr);
    cidrs.delete(peer);
  }
  for (const { peer, cidr } of update.cidrs.added) {
    assert.ok(!cidrs.has(peer));
    cidrs.set(peer, cidr);
  }
}

test('updates lead where compiling from scratch leads, and say exactly what changed', () => {
  fc.assert(
    fc.property(fc.integer(), fc.nat(6), fc.nat(8), (seed, segments, policies) => {
      const random = seededRandom(seed);
      const features = { live: true, staged: true, hosts: true };
      let world: CompiledWorld = {
        policySet: policySetOf(generateDocuments(random, { segments, policies, kubernetes: policies, ...features })),
        identities: generateIdentities(random, 6),
        subjects: new Set(),
        host: generateHostLabels(random),
        learnt: [],
      };
      const compiler = createCompiler();
      compiler.update({ policySet: world.policySet, identities: { set: world.identities }, host: world.host! });
      const followed: Followed = new Map();
      const cidrs = new Map<PeerId, string>();
      for (let round = 0; round < 12; round++) {
        const next = generateChange(random, world);
        const earlier = tablesMet(compiler, world);
        const peers = learntPeers(compiler, world);
        const update = compiler.update(next.change);
        const later = tablesMet(compiler, next.world);
        world = next.world;
        follow(followed, cidrs, update);
        assertMoves(update, world, peers);

        assert.deepEqual(new Map(compiler.cidrs().map(({ peer, cidr }) => [peer, cidr])), cidrs);
        assert.deepEqual([...followed.keys()].sort(), [...world.subjects].sort());
        for (const [identity, sides] of followed) {
          const compiled = compiler.subject(identity)!;
          for (const direction of ['egress', 'ingress'] as const)
            assert.deepEqual(sides[direction], keys(compiled[direction]));
        }
        assertFlips(update, earlier, later);

        const fresh = createCompiler();
        fresh.update({
          policySet: world.policySet,
          identities: { set: world.identities },
          subjects: { added: world.subjects },
          host: world.host!,
        });
        const { learnt } = fresh.learn(world.learnt!);
        assert.deepEqual(describeTables(compiler, world), describeTables(fresh, { ...world, learnt }));
        assert.equal(compiler.sizes().portTables, fresh.sizes().portTables, 'tables that nobody uses are kept');
        assertAsDecided(random, compiler, world, 20);
        world = { ...world, learnt: learnAndForget(random, compiler, world, followed, cidrs) };
      }
    }),
    { numRuns: 300 },
  );
});

/** The peers of what was learnt: where it is none of its own, that of the address. */
function learntPeers(compiler: Compiler, { learnt }: CompiledWorld): Map<Learnt, PeerId> {
  const prefixes = prefixPeers(compiler);
  return new Map(
    learnt!.map((one) => [one, one.peer ?? peerOf(prefixes, { kind: 'address', address: one.address })] as const),
  );
}

function assertMoves({ learnt }: CompilerUpdate, world: CompiledWorld, before: ReadonlyMap<Learnt, PeerId>): void {
  const moved = new Map(learnt.map((move) => [move.learnt, move.from]));
  for (const one of world.learnt!) {
    if (one.peer === null || one.peer === before.get(one)) assert.ok(!moved.has(one), 'a move to where it was');
    else assert.equal(moved.get(one), before.get(one), 'where it came from');
  }
}

/** Learning and forgetting change rows of learnt peers and nothing else. */
function learnAndForget(
  random: Random,
  compiler: Compiler,
  world: CompiledWorld,
  followed: Followed,
  cidrs: Map<PeerId, string>,
): readonly Learnt[] {
  const kept = [...world.learnt!];
  const updates: CompilerUpdate[] = [];
  if (random(2) === 0) {
    const { learnt, update } = compiler.learn([{ address: generateAddress(random), names: generateNames(random) }]);
    kept.push(...learnt);
    updates.push(update);
  }
  if (kept.length > 0 && random(3) === 0) updates.push(compiler.forget(kept.splice(random(kept.length), 1)));
  const before = learntPeers(compiler, { ...world, learnt: kept });
  for (const update of updates) {
    for (const change of update.subjects) {
      assert.ok(change.kind === 'changed' && !change.flip, 'what is learnt is written in place');
      for (const { peer } of [...change.egress.rows, ...change.ingress.rows])
        assert.ok(peer >= cidrPeerFirst && !cidrs.has(peer), 'only rows of learnt peers');
    }
    assert.deepEqual(update.cidrs, { added: [], removed: [] });
    follow(followed, cidrs, update);
  }
  assertMoves({ subjects: [], cidrs: { added: [], removed: [] }, learnt: [] }, { ...world, learnt: kept }, before);
  return kept;
}

/** Where a known target meets other verdicts than before, the change must ask for a flip. */
function assertFlips(
  update: CompilerUpdate,
  earlier: ReadonlyMap<string, string>,
  later: ReadonlyMap<string, string>,
): void {
  const flipped = new Set(
    update.subjects.flatMap((change) => (change.kind !== 'removed' && change.flip ? [change.identity] : [])),
  );
  for (const [key, before] of earlier) {
    const after = later.get(key);
    if (after !== undefined && after !== before)
      assert.ok(flipped.has(Number(key.split(' ')[0]) as IdentityId), `no flip: ${key}`);
  }
}

const apiVersion = 'bulkhead.dev/v1';
const own = 256 as IdentityId;

/** A compiler with one workload `app=a` and these rules of it, and what each further list of rules changes. */
function rulesOf(...versions: readonly (readonly object[])[]): { update: CompilerUpdate; compiler: Compiler }[] {
  const compiler = createCompiler();
  const segment = { selector: { matchLabels: { app: 'a' } } };
  compiler.update({ identities: { set: [[own, { app: 'a' }]] }, subjects: { added: [own] } });
  return versions.map((rules, version) => {
    const policy = {
      rules: rules.map((rule, index) => ({
        name: `r${index}`,
        action: 'allow' as const,
        applies: 'egress' as const,
        ...rule,
      })),
    };
    const policySet = policySetOf([
      { apiVersion, kind: 'Segment', metadata: { name: 'a' }, spec: segment },
      // Marks every side, so that the whole of each is made anew.
      { apiVersion, kind: 'Tier', metadata: { name: 'extra' }, spec: { position: version } },
      { apiVersion, kind: 'Policy', metadata: { name: 'p' }, spec: policy },
    ]);
    return { update: compiler.update({ policySet }), compiler };
  });
}

test('a new exception without row of its own still asks for a flip', () => {
  const wide = { cidr: '10.0.0.0/8' };
  const [, narrowed, widened] = rulesOf([{ to: wide }], [{ to: { ...wide, except: ['10.1.0.0/16'] } }], [{ to: wide }]);
  for (const step of [narrowed, widened]) {
    const [change] = step!.update.subjects;
    assert.ok(change?.kind === 'changed' && change.flip);
  }
  const [peer] = narrowed!.update.cidrs.added;
  assert.equal(peer?.cidr, '10.1.0.0/16');
  assert.equal(peer?.covering, narrowed!.compiler.cidrs().find(({ cidr }) => cidr === wide.cidr)?.peer);
  assert.deepEqual(widened!.update.cidrs.removed, [peer]);
});

test('a new identity is written in place', () => {
  const { compiler } = rulesOf([{ to: { selector: { matchLabels: { app: 'b' } } } }])[0]!;
  const { subjects } = compiler.update({ identities: { set: [[257 as IdentityId, { app: 'b' }]] } });
  assert.equal(subjects.length, 1);
  assert.ok(subjects[0]?.kind === 'changed' && !subjects[0].flip);
  assert.deepEqual(
    subjects[0]?.kind === 'changed' && subjects[0].egress.rows.map(({ peer, before }) => [peer, before]),
    [[257, null]],
  );
  assert.deepEqual(compiler.update({ identities: { set: [[258 as IdentityId, { app: 'c' }]] } }).subjects, []);
});

test('a network keeps its number while some rule names it, and only the networks of subjects are peers', () => {
  const network = { cidr: '10.0.0.0/8' };
  const foreign = { applies: 'ingress', from: network, to: { selector: { matchLabels: { app: 'other' } } } };
  const [first, second, third] = rulesOf(
    [{ to: network }],
    [{ to: network, ports: [{ protocol: 'tcp', port: 1 }] }],
    [foreign],
  );
  assert.deepEqual(
    first!.update.cidrs.added.map(({ cidr }) => cidr),
    ['10.0.0.0/8'],
  );
  assert.deepEqual([second!.update.cidrs, third!.update.cidrs.added], [{ added: [], removed: [] }, []]);
  assert.deepEqual(third!.update.cidrs.removed, first!.update.cidrs.added);
});

test('measuring a workload anew opens or closes it, though no selector looks at what was measured', () => {
  const compiler = createCompiler();
  const posture = { egress: 'allow', isolation: { class: 'sandbox' } } as const;
  const spec = { selector: { matchLabels: { app: 'a' } }, posture };
  const policySet = policySetOf([{ apiVersion, kind: 'Segment', metadata: { name: 'a' }, spec }]);
  const measured = (kind: string): readonly [IdentityId, Labels] => [own, { app: 'a', [`${factPrefix}class`]: kind }];
  compiler.update({ policySet, identities: { set: [measured('shared')] }, subjects: { added: [own] } });
  assert.equal(compiler.subject(own)?.egress.others.otherwise.action, 'deny');
  const [change] = compiler.update({ identities: { set: [measured('sandbox')] } }).subjects;
  assert.equal(compiler.subject(own)?.egress.others.otherwise.action, 'allow');
  assert.ok(change?.kind === 'changed' && change.flip);
});

test('a workload leaves the end of a rule in the change that takes the rule away', () => {
  const compiler = createCompiler();
  const selector = (app: string) => ({ selector: { matchLabels: { app } } });
  const rule = {
    name: 'r',
    action: 'allow',
    from: selector('a'),
    to: [selector('b'), { cidr: '10.0.0.0/8' }],
  } as const;
  const policySet = policySetOf([{ apiVersion, kind: 'Policy', metadata: { name: 'p' }, spec: { rules: [rule] } }]);
  const set = [
    [own, { app: 'a' }],
    [257 as IdentityId, { app: 'b' }],
  ] as const;
  compiler.update({ policySet, identities: { set }, subjects: { added: [own] } });
  assert.deepEqual([...compiler.subject(own)!.egress.rows.values()].map(({ otherwise }) => otherwise.action).sort(), [
    'allow',
    'allow',
    'deny',
    'deny',
  ]);
  const { cidrs } = compiler.update({ policySet: policySetOf([]), identities: { set: [[own, { app: 'c' }]] } });
  assert.equal(cidrs.removed.length, 1);
  // The host, for names, and the unknown.
  assert.deepEqual([...compiler.subject(own)!.egress.rows.keys()].sort(), [1, 3]);
});

test('a wrong change is refused before it changes anything', () => {
  const { compiler } = rulesOf([{ to: { any: true } }])[0]!;
  const before = compiler.sizes();
  const [fresh, stranger] = [300 as IdentityId, 301 as IdentityId];
  const set = [[fresh, { app: 'a' }]] as const;
  assert.throws(
    () => compiler.update({ identities: { set }, subjects: { added: [stranger] } }),
    /301 is to be a subject/,
  );
  assert.throws(
    () => compiler.update({ identities: { set: [...set, [2 as IdentityId, {}]] } }),
    /2 is the number of no identity/,
  );
  assert.throws(
    () => compiler.update({ identities: { removed: [own] }, subjects: { added: [own] } }),
    /256 is to be a subject/,
  );
  assert.deepEqual(compiler.sizes(), before);
});
