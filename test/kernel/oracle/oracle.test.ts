/**
 * `decide()` is what policy means; here the compiled tables and the eBPF programs are held against it: generated documents of every kind,
 * compiled into the real tables, and generated packets run through the real programs. `BULKHEAD_SEED` repeats a run, `BULKHEAD_ORACLE_PACKETS` makes it longer.
 */
import {
  type CompiledSubject,
  type Compiler,
  createCompiler,
  createPolicySet,
  type IdentityId,
  type Labels,
  type Learnt,
  type Party,
  type PolicySet,
  reasonText,
} from '@bulkhead/policy';
import {
  generateAddress,
  generateDocuments,
  generateIdentities,
  generateNames,
  type Random,
  seededRandom,
} from '@bulkhead/policy/testing';
import { type PrefixPeers, prefixPeers, tableFor, type Target, verdictAt } from '@bulkhead/policy/testing/compiled';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Member, OracleHost } from './host.ts';
import { type End, generatePacket, keyOf, type LearntByMember, type Packet } from './packets.ts';

const seed = Number(process.env['BULKHEAD_SEED'] ?? 20_261_121);
const packetsWanted = Number(process.env['BULKHEAD_ORACLE_PACKETS'] ?? 1_000_000);
const packetsPerPolicy = 1000;
const memberCount = 6;

let host: OracleHost;
before(async () => {
  host = await OracleHost.open(memberCount);
});
after(async () => host[Symbol.asyncDispose]());

interface Governed {
  readonly policySet: PolicySet;
  readonly members: ReadonlyMap<Member, Party>;
  readonly subjects: ReadonlyMap<Member, CompiledSubject>;
  readonly learnt: LearntByMember;
  readonly prefixes: PrefixPeers;
}

/** Random documents over random identities, one identity a member, compiled and put in force. */
function governAnew(random: Random): Governed {
  const identities: ReadonlyMap<IdentityId, Labels> = generateIdentities(random, memberCount);
  const sizes = { segments: 1 + random(6), policies: 1 + random(10), kubernetes: random(14) };
  const made = createPolicySet(generateDocuments(random, { ...sizes, live: true, staged: true }), {
    checkCondition: () => null,
  });
  assert.equal(made.kind, 'ok');
  const { policySet } = made as Extract<typeof made, { kind: 'ok' }>;
  const compiler = createCompiler();
  compiler.update({ policySet, identities: { set: identities }, subjects: { added: [...identities.keys()] } });
  const ids = [...identities.keys()];
  const subjects = new Map<Member, CompiledSubject>(
    host.members.map((member, index) => [member, compiler.subject(ids[index]!)!]),
  );
  const learnt = learnAnew(random, compiler, subjects);
  host.govern(subjects, compiler.cidrs());
  host.learn(
    [...learnt].flatMap(([{ slot }, answers]) =>
      [...answers.values()].flatMap(({ address, peer }) =>
        peer === null ? [] : [{ slot, address, peer, lapsed: false }],
      ),
    ),
  );
  const members = host.members.map(
    (member, index) => [member, { kind: 'workload', labels: identities.get(ids[index]!)! }] as const,
  );
  return { policySet, members: new Map(members), subjects, learnt, prefixes: prefixPeers(compiler) };
}

const answersMax = 4;

/** Members learn some addresses by some names; those for whom no rule asks for names need not be told. */
function learnAnew(random: Random, compiler: Compiler, subjects: ReadonlyMap<Member, CompiledSubject>): LearntByMember {
  const byMember = new Map<Member, ReadonlyMap<string, Learnt>>();
  for (const [member, { learns }] of subjects) {
    if (!learns) continue;
    const answers = Array.from({ length: random(answersMax + 1) }, () => ({
      address: generateAddress(random),
      names: generateNames(random),
    }));
    const byAddress = new Map(answers.map((answer) => [answer.address, answer]));
    const { learnt } = compiler.learn([...byAddress.values()]);
    byMember.set(member, new Map(learnt.map((one) => [one.address, one])));
  }
  return byMember;
}

/** The tables as they are, read without any kernel, say what decide() says. */
function assertTables({ subjects, learnt, prefixes }: Governed, { source, destination, flow, expected }: Packet): void {
  const targetOf = (end: End, asker: Member | null): Target => {
    if (end.member !== null) return { kind: 'identity', identity: subjects.get(end.member)!.identity };
    if (end.party.kind !== 'address') return { kind: 'host' };
    const known = asker === null ? undefined : learnt.get(asker)?.get(end.address);
    return { kind: 'address', address: end.address, ...(known === undefined ? {} : { learnt: known }) };
  };
  const sideOf = (own: End, direction: 'egress' | 'ingress', far: End): string => {
    if (own.member === null) return '';
    const target = targetOf(far, direction === 'egress' ? own.member : null);
    const table = tableFor(prefixes, subjects.get(own.member)![direction], target);
    return reasonText(verdictAt(table, flow.protocol, flow.port).reason);
  };
  const said = `${sideOf(source, 'egress', destination)} ${sideOf(destination, 'ingress', source)}`;
  if (said !== `${expected.egress} ${expected.ingress}`)
    assert.fail(`the tables say ${said}, decide() says ${JSON.stringify(expected)} of ${JSON.stringify(flow)}`);
}

function generatePackets(random: Random, governed: Governed): ReadonlyMap<string, Packet> {
  const { policySet, members, learnt } = governed;
  const packets = new Map<string, Packet>();
  for (let attempt = 0; packets.size < packetsPerPolicy && attempt < packetsPerPolicy * 4; attempt++) {
    const packet = generatePacket(random, policySet, members, learnt, 10_000 + attempt);
    if (packet === null || packets.has(packet.key)) continue;
    assertTables(governed, packet);
    packets.set(packet.key, packet);
  }
  return packets;
}

/** Runs the packets, and takes the connections that they opened out of the table again. */
function runPackets(packets: ReadonlyMap<string, Packet>): Map<string, { egress: string; ingress: string }> {
  const { maps, programs } = host.kernel;
  maps.heartbeat();
  for (const { program, frame, ifindex } of packets.values()) programs.testRun(program, frame, { ifindex });
  const opened = new Map<string, { egress: string; ingress: string }>();
  const keys: Parameters<typeof maps.removeConnections>[0][number][] = [];
  maps.forEachConnection(
    ({
      protocol,
      source,
      sourcePort,
      destination,
      destinationPort,
      sourceSlot,
      destinationSlot,
      egressRule,
      ingressRule,
    }) => {
      keys.push({ protocol, source, sourcePort, destination, destinationPort });
      opened.set(keyOf(protocol, source, sourcePort, destination, destinationPort), {
        egress: sourceSlot === 0 ? '' : host.reasonOf(egressRule),
        ingress: destinationSlot === 0 ? '' : host.reasonOf(ingressRule),
      });
    },
  );
  maps.removeConnections(keys);
  return opened;
}

const countersOf = (): Record<'deny' | 'reject' | 'ask', number> => {
  const counters = host.kernel.maps.counters();
  const sum = (...names: string[]): number =>
    names.reduce((total, name) => total + Number(counters.get(name) ?? Number.NaN), 0);
  return {
    deny: sum('denied', 'no_row'),
    reject: sum('rejected'),
    ask: sum('punt_no_device', 'punt_rate', 'punt_full', 'punt_absorbed'),
  };
};

test(`tables and eBPF agree with decide() on at least ${packetsWanted} generated packets`, (context) => {
  const random = seededRandom(seed);
  const seen = { packets: 0, policies: 0, allow: 0, deny: 0, reject: 0, ask: 0 };
  while (seen.packets < packetsWanted) {
    const policySeed = random(2 ** 31);
    const world = governAnew(seededRandom(policySeed));
    const packets = generatePackets(seededRandom(policySeed + 1), world);
    const before = countersOf();
    const opened = runPackets(packets);
    const after = countersOf();
    for (const [key, packet] of packets) {
      const expected =
        packet.expected.action === 'allow'
          ? { egress: packet.expected.egress, ingress: packet.expected.ingress }
          : undefined;
      const found = opened.get(key);
      if (found?.egress !== expected?.egress || found?.ingress !== expected?.ingress) {
        assert.deepEqual(
          found,
          expected,
          `seed ${seed}, policy seed ${policySeed}: ${packet.program} ${key}\n${JSON.stringify(packet.flow)}\ndecide(): ${JSON.stringify(packet.expected)}`,
        );
      }
      seen[packet.expected.action as 'allow' | 'deny' | 'reject' | 'ask'] += 1;
    }
    const wanted = (action: string): number =>
      [...packets.values()].filter(({ expected }) => expected.action === action).length;
    for (const action of ['deny', 'reject', 'ask'] as const) {
      assert.equal(
        after[action] - before[action],
        wanted(action),
        `seed ${seed}, policy seed ${policySeed}: packets that ended as ${action}`,
      );
    }
    assert.equal(
      [...opened.keys()].filter((key) => !packets.has(key)).length,
      0,
      `policy seed ${policySeed}: connections that no packet opened`,
    );
    seen.packets += packets.size;
    seen.policies += 1;
  }
  context.diagnostic(`seed ${seed}: ${JSON.stringify(seen)}`);
  // A few policies may all be of one mind.
  if (seen.policies < 50) return;
  for (const action of ['allow', 'deny', 'reject', 'ask'] as const)
    assert.ok(seen[action] > packetsWanted / 100, `${action} hardly ever happened`);
});
