import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideSide } from '../decide/decide.ts';
import { type Document, documentKey } from '../documents/document.ts';
import {
  type CompiledDirection,
  type Direction,
  type Flow,
  type IdentityId,
  identityFirst,
  type Labels,
  type Party,
  type PeerId,
  type PortTable,
  reservedIdentity,
  type SideVerdict,
} from '../model.ts';
import { changePolicySet, createPolicySet, emptyPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { addressBits, parsePrefix } from '../select/prefix.ts';
import {
  generateAddress,
  generateDocuments,
  generatedTiers,
  generateIdentities,
  generateLabels,
  generatePolicy,
  generateSegment,
  generateService,
  type Random,
  pick,
  seededRandom,
} from '../testing/generate.ts';
import { type Compiler, createCompiler } from './compiler.ts';
import type { CompilerChange, CompilerUpdate, DirectionChange } from './update.ts';

const options = { checkCondition: () => null };
const unknown = reservedIdentity.unknown as number as IdentityId;

function policySetOf(documents: readonly Document[]): PolicySet {
  const result = createPolicySet(documents, options);
  assert.equal(result.kind, 'ok');
  return result.kind === 'ok' ? result.policySet : emptyPolicySet;
}

/** What a kernel does with the tables: longest prefix, row or `others`, range or `otherwise`. */
function lookUp(
  cidrs: ReadonlyMap<string, PeerId>,
  tables: CompiledDirection,
  party: Target,
  service: { protocol: number; port: number },
): SideVerdict {
  const table = tables.rows.get(peerOf(cidrs, party)) ?? tables.others;
  return lookUpPort(table, service.protocol, service.port);
}

function lookUpPort(table: PortTable, protocol: number, port: number): SideVerdict {
  const range = table.ranges.find(
    (candidate) => candidate.protocol === protocol && candidate.from <= port && port <= candidate.to,
  );
  return range?.verdict ?? table.otherwise;
}

type Target =
  | { readonly kind: 'identity'; readonly identity: IdentityId }
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'host' };

function peerOf(cidrs: ReadonlyMap<string, PeerId>, target: Target): PeerId {
  if (target.kind === 'identity') return target.identity as number as PeerId;
  if (target.kind === 'host') return reservedIdentity.host as number as PeerId;
  const bits = addressBits(target.address)!;
  for (let length = bits.length; length > 0; length--) {
    const peer = cidrs.get(bits.slice(0, length));
    if (peer !== undefined) return peer;
  }
  return reservedIdentity.world as number as PeerId;
}

function cidrBits(cidr: string): string {
  const parsed = parsePrefix(cidr);
  assert.equal(parsed.kind, 'prefix');
  return parsed.kind === 'prefix' ? parsed.prefix.bits : '';
}

function partyOf(identities: ReadonlyMap<IdentityId, Labels>, target: Target): Party {
  if (target.kind !== 'identity') return target;
  const labels = identities.get(target.identity);
  return labels === undefined ? { kind: 'unknown' } : { kind: 'workload', labels };
}

function generateTarget(random: Random, identities: ReadonlyMap<IdentityId, Labels>): Target {
  const kind = random(10);
  if (kind === 0) return { kind: 'host' };
  if (kind === 1) return { kind: 'identity', identity: unknown };
  if (kind < 6) return { kind: 'address', address: generateAddress(random) };
  return { kind: 'identity', identity: pick(random, [unknown, ...identities.keys()]) };
}

interface World {
  readonly policySet: PolicySet;
  readonly identities: ReadonlyMap<IdentityId, Labels>;
  readonly subjects: ReadonlySet<IdentityId>;
}

function assertAsDecided(random: Random, compiler: Compiler, world: World, flows: number): void {
  const cidrs = new Map(compiler.cidrs().map(({ cidr, peer }) => [cidrBits(cidr), peer]));
  for (let count = 0; count < flows && world.subjects.size > 0; count++) {
    const subject = pick(random, [...world.subjects]);
    const direction: Direction = pick(random, ['egress', 'ingress']);
    const target = generateTarget(random, world.identities);
    const service = generateService(random);
    const compiled = compiler.subject(subject);
    assert.ok(compiled !== undefined);
    const own = partyOf(world.identities, { kind: 'identity', identity: subject });
    const far = partyOf(world.identities, target);
    const flow: Flow =
      direction === 'egress'
        ? { source: own, destination: far, ...service }
        : { source: far, destination: own, ...service };
    assert.deepEqual(lookUp(cidrs, compiled[direction], target, service), decideSide(world.policySet, direction, flow));
  }
}

test('compiled tables say what decide says', () => {
  fc.assert(
    fc.property(fc.integer(), fc.nat(10), fc.nat(12), (seed, segments, policies) => {
      const random = seededRandom(seed);
      const policySet = policySetOf(generateDocuments(random, { segments, policies }));
      const identities = generateIdentities(random, 8);
      const subjects = new Set([...identities.keys()].slice(0, 5).concat(unknown));
      const compiler = createCompiler();
      compiler.update({ policySet, identities: { set: identities }, subjects: { added: subjects } });
      assertAsDecided(random, compiler, { policySet, identities, subjects }, 200);
    }),
    { numRuns: 400 },
  );
});

/** A world and the next one, with what the compiler is told about the difference. */
function changeWorld(random: Random, world: World): { world: World; change: CompilerChange } {
  const identities = new Map(world.identities);
  const subjects = new Set(world.subjects);
  const set = new Map<IdentityId, Labels>();
  const removed: IdentityId[] = [];
  const [subjectsAdded, subjectsRemoved]: [IdentityId[], IdentityId[]] = [[], []];
  let documentsSet: Document[] = [];
  let documentsRemoved: { kind: string; name: string }[] = [];
  for (let steps = 1 + random(3); steps > 0; steps--) {
    const kind = random(8);
    const identity = (identityFirst + random(12)) as IdentityId;
    if (kind < 2) {
      set.set(identity, generateLabels(random));
      identities.set(identity, set.get(identity)!);
    } else if (kind === 2) {
      if (set.has(identity) || subjectsAdded.includes(identity)) continue;
      identities.delete(identity);
      subjects.delete(identity);
      removed.push(identity);
    } else if (kind === 3) {
      if (!identities.has(identity) || subjectsRemoved.includes(identity)) continue;
      subjects.add(identity);
      subjectsAdded.push(identity);
    } else if (kind === 4) {
      if (subjectsAdded.includes(identity)) continue;
      subjects.delete(identity);
      subjectsRemoved.push(identity);
    } else {
      const name = String(random(6));
      const segments = [...world.policySet.segments.keys()];
      if (kind === 5) documentsSet.push(generateSegment(random, `s${name}`));
      else if (kind === 6) documentsSet.push(generatePolicy(random, `p${name}`, segments, generatedTiers));
      else
        documentsRemoved.push(
          pick(random, [
            { kind: 'Policy', name: `p${name}` },
            { kind: 'Segment', name: `s${name}` },
            { kind: 'Tier', name: 'listed' },
          ]),
        );
    }
  }
  documentsSet = [...new Map(documentsSet.map((document) => [documentKey(document), document])).values()];
  const result = changePolicySet(world.policySet, { set: documentsSet, removed: documentsRemoved }, options);
  const policySet = result.kind === 'ok' ? result.policySet : world.policySet;
  return {
    world: { policySet, identities, subjects },
    change: { policySet, identities: { set, removed }, subjects: { added: subjectsAdded, removed: subjectsRemoved } },
  };
}

/** The tables as text that does not depend on numbers given underway: rows that say the same as `others` are left out. */
function describe(compiler: Compiler, world: World): object {
  const cidrs = new Map(compiler.cidrs().map(({ cidr, peer }) => [peer, cidr]));
  const peers = [...world.identities.keys(), 1, 2, 3, ...cidrs.keys()] as PeerId[];
  const plain = ({ ranges, otherwise }: PortTable): object => ({ ranges, otherwise });
  const side = (tables: CompiledDirection): object => {
    for (const peer of tables.rows.keys()) assert.ok(peers.includes(peer), `row of nobody: ${peer}`);
    const rows = peers.flatMap((peer) => {
      const table = tables.rows.get(peer);
      assert.notEqual(table, tables.others);
      return table === undefined ? [] : [[cidrs.get(peer) ?? String(peer), plain(table)] as const];
    });
    return { rows: Object.fromEntries(rows), others: plain(tables.others) };
  };
  const subjects = [...world.subjects].map((identity) => {
    const compiled = compiler.subject(identity)!;
    return [identity, { egress: side(compiled.egress), ingress: side(compiled.ingress) }] as const;
  });
  return { cidrs: [...cidrs.values()].sort(), subjects: Object.fromEntries(subjects) };
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
      let world: World = {
        policySet: policySetOf(generateDocuments(random, { segments, policies })),
        identities: generateIdentities(random, 6),
        subjects: new Set(),
      };
      const compiler = createCompiler();
      compiler.update({ policySet: world.policySet, identities: { set: world.identities } });
      const followed: Followed = new Map();
      const cidrs = new Map<PeerId, string>();
      for (let round = 0; round < 12; round++) {
        const next = changeWorld(random, world);
        const earlier = verdicts(compiler, world);
        const update = compiler.update(next.change);
        const later = verdicts(compiler, next.world);
        world = next.world;
        follow(followed, cidrs, update);

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
        });
        assert.deepEqual(describe(compiler, world), describe(fresh, world));
        assert.equal(compiler.sizes().portTables, fresh.sizes().portTables, 'tables that nobody uses are kept');
        assertAsDecided(random, compiler, world, 20);
      }
    }),
    { numRuns: 300 },
  );
});

/** Port tables by subject, side and target: what packets to and from everything that is there would meet. */
function verdicts(compiler: Compiler, world: World): Map<string, string> {
  const cidrs = new Map(compiler.cidrs().map(({ cidr, peer }) => [cidrBits(cidr), peer]));
  const targets: Target[] = [
    { kind: 'host' },
    ...[...world.identities.keys()].map((identity) => ({ kind: 'identity', identity }) as const),
  ];
  for (let seed = 0; seed < 40; seed++) targets.push({ kind: 'address', address: generateAddress(seededRandom(seed)) });
  const met = new Map<string, string>();
  for (const identity of world.subjects) {
    const compiled = compiler.subject(identity)!;
    for (const direction of ['egress', 'ingress'] as const) {
      for (const target of targets) {
        const table = compiled[direction].rows.get(peerOf(cidrs, target)) ?? compiled[direction].others;
        met.set(`${identity} ${direction} ${JSON.stringify(target)}`, JSON.stringify([table.ranges, table.otherwise]));
      }
    }
  }
  return met;
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

test('the order of documents, identities and subjects has no meaning', () => {
  fc.assert(
    fc.property(fc.integer(), fc.infiniteStream(fc.nat()), (seed, stream) => {
      const random = seededRandom(seed);
      const documents = generateDocuments(random, { segments: 5, policies: 8 });
      const identities = generateIdentities(random, 6);
      const subjects = new Set([...identities.keys()].slice(0, 3));
      const shuffled = <T>(items: Iterable<T>): T[] =>
        [...items]
          .map((item) => [stream.next().value ?? 0, item] as const)
          .sort(([a], [b]) => a - b)
          .map(([, item]) => item);
      const [one, other] = [createCompiler(), createCompiler()];
      const policySet = policySetOf(documents);
      one.update({ policySet, identities: { set: identities }, subjects: { added: subjects } });
      other.update({
        policySet: policySetOf(shuffled(documents)),
        identities: { set: shuffled(identities) },
        subjects: { added: shuffled(subjects) },
      });
      assert.deepEqual(
        describe(one, { policySet, identities, subjects }),
        describe(other, { policySet, identities, subjects }),
      );
    }),
    { numRuns: 150 },
  );
});
