import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideSide } from '../decide/decide.ts';
import { type Document, documentKey } from '../documents/document.ts';
import {
  type CompiledDirection,
  type Direction,
  factPrefix,
  type IdentityId,
  identityFirst,
  type Labels,
  type PeerId,
} from '../model.ts';
import { changePolicySet, createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { type CompiledWorld, describeTables, generateProbes, tablesMet } from '../testing/compiled.ts';
import {
  generateDocuments,
  generatedTiers,
  generateIdentities,
  generateLabels,
  generatePolicy,
  generateSegment,
  pick,
  type Random,
  seededRandom,
} from '../testing/generate.ts';
import { type Compiler, createCompiler } from './compiler.ts';
import type { CompilerChange, CompilerUpdate, DirectionChange } from './update.ts';

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

/** A world and the next one, with what the compiler is told about the difference. */
function changeWorld(random: Random, world: CompiledWorld): { world: CompiledWorld; change: CompilerChange } {
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
      if (removed.includes(identity)) continue;
      const labels = identities.get(identity);
      // Often what was measured changes alone, which no selector looks at.
      const remeasured = { ...labels, [`${factPrefix}class`]: pick(random, ['shared', 'sandbox', 'microvm']) };
      set.set(identity, labels !== undefined && random(2) === 0 ? remeasured : generateLabels(random));
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
      let world: CompiledWorld = {
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
        const earlier = tablesMet(compiler, world);
        const update = compiler.update(next.change);
        const later = tablesMet(compiler, next.world);
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
        assert.deepEqual(describeTables(compiler, world), describeTables(fresh, world));
        assert.equal(compiler.sizes().portTables, fresh.sizes().portTables, 'tables that nobody uses are kept');
        assertAsDecided(random, compiler, world, 20);
      }
    }),
    { numRuns: 300 },
  );
});

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
