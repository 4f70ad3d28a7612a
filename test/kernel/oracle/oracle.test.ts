/**
 * `decide()` is what policy means; here the eBPF programs are held against it: generated documents, compiled into the real tables, and
 * generated packets run through the real programs. `BULKHEAD_SEED` repeats a run, `BULKHEAD_ORACLE_PACKETS` makes it longer.
 */
import {
  type CidrPeer,
  type CompiledSubject,
  createCompiler,
  createPolicySet,
  type IdentityId,
  type Labels,
  type Party,
} from '@bulkhead/policy';
import { generateDocuments, generateIdentities, type Random, seededRandom } from '@bulkhead/policy/testing';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Member, OracleHost } from './host.ts';
import { generatePacket, keyOf, type Packet } from './packets.ts';

const seed = Number(process.env['BULKHEAD_SEED'] ?? 20_261_121);
const packetsWanted = Number(process.env['BULKHEAD_ORACLE_PACKETS'] ?? 120_000);
const packetsPerPolicy = 1000;
const memberCount = 6;

let host: OracleHost;
before(async () => {
  host = await OracleHost.open(memberCount);
});
after(async () => host[Symbol.asyncDispose]());

/** Random documents over random identities, one identity a member, compiled and put in force. */
function governAnew(random: Random): {
  policySet: Parameters<typeof generatePacket>[1];
  members: ReadonlyMap<Member, Party>;
} {
  const identities: ReadonlyMap<IdentityId, Labels> = generateIdentities(random, memberCount);
  const made = createPolicySet(generateDocuments(random, { segments: 1 + random(6), policies: 1 + random(10) }), {
    checkCondition: () => null,
  });
  assert.equal(made.kind, 'ok');
  const { policySet } = made as Extract<typeof made, { kind: 'ok' }>;
  const compiler = createCompiler();
  compiler.update({ policySet, identities: { set: identities }, subjects: { added: [...identities.keys()] } });
  const cidrs: readonly CidrPeer[] = compiler.cidrs();
  const ids = [...identities.keys()];
  const subjects = new Map<Member, CompiledSubject>(
    host.members.map((member, index) => [member, compiler.subject(ids[index]!)!]),
  );
  host.govern(subjects, cidrs);
  return {
    policySet,
    members: new Map(
      host.members.map((member, index) => [member, { kind: 'workload', labels: identities.get(ids[index]!)! }]),
    ),
  };
}

function generatePackets(
  random: Random,
  { policySet, members }: ReturnType<typeof governAnew>,
): ReadonlyMap<string, Packet> {
  const packets = new Map<string, Packet>();
  for (let attempt = 0; packets.size < packetsPerPolicy && attempt < packetsPerPolicy * 4; attempt++) {
    const packet = generatePacket(random, policySet, members, 10_000 + attempt);
    if (packet !== null && !packets.has(packet.key)) packets.set(packet.key, packet);
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

test(`eBPF agrees with decide() on at least ${packetsWanted} generated packets`, (context) => {
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
      assert.deepEqual(
        opened.get(key),
        expected,
        `seed ${seed}, policy seed ${policySeed}: ${packet.program} ${key}\n${JSON.stringify(packet.flow)}\ndecide(): ${JSON.stringify(packet.expected)}`,
      );
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
