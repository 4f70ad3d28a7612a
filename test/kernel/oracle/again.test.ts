/**
 * Connections that live when documents change, held against `decide()`: opened under one policy set, and spoken on under the next. With
 * addresses that each workload learnt by names of its own. The rules about `live` are written out here once more, from what they mean.
 */
import {
  type Compiler,
  createCompiler,
  createPolicySet,
  decide,
  type Document,
  type Flow,
  type IdentityId,
  type Labels,
  type Learnt,
  type PolicySet,
  reasonText,
  type SideVerdict,
} from '@bulkhead/policy';
import { generateDocuments, generateIdentities, pick, type Random, seededRandom } from '@bulkhead/policy/testing';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chunk, type Ends, protocols, sctp, tcp, tcpFlag, udp } from '../datapath/frames.ts';
import { type Member, OracleHost } from './host.ts';
import { keyOf } from './packets.ts';

const seed = Number(process.env['BULKHEAD_SEED'] ?? 20_261_122);
const connectionsWanted = Number(process.env['BULKHEAD_ORACLE_CONNECTIONS'] ?? 10_000);
const attemptsPerWorld = 300;
const memberCount = 6;
const outside = ['192.0.2.9', '198.51.100.4', '203.0.113.7', '8.8.8.8', '10.9.1.3'];
const names = ['api.example.com', 'www.example.com', 'example.com', 'example.org', 'a.b.example.com'];
const ports = [22, 53, 80, 443, 5432, 8080];
const shot = 2;

let host: OracleHost;
before(async () => {
  host = await OracleHost.open(memberCount);
});
after(async () => host[Symbol.asyncDispose]());

interface World {
  readonly compiler: Compiler;
  readonly identities: ReadonlyMap<IdentityId, Labels>;
  /** By member and address. */
  readonly learnt: ReadonlyMap<string, Learnt>;
}

interface Attempt {
  readonly flow: Flow;
  readonly from: Member;
  readonly to: Member | null;
  readonly key: string;
  readonly first: Buffer;
  readonly next: Buffer;
}

function policySetOf(documents: readonly Document[]): PolicySet {
  const made = createPolicySet(documents, { checkCondition: () => null });
  if (made.kind === 'refused') assert.fail(JSON.stringify(made.problems));
  return made.policySet;
}

/** Another set of the same names, so that rules change, come and go. */
function changed(random: Random, before: readonly Document[]): readonly Document[] {
  const other = new Map(drawn(random).map((document) => [`${document.kind}/${document.metadata.name}`, document]));
  return before.map((document) => {
    const replacement = other.get(`${document.kind}/${document.metadata.name}`);
    return document.kind === 'Policy' && random(2) === 0 && replacement !== undefined ? replacement : document;
  });
}
const drawn = (random: Random): readonly Document[] =>
  generateDocuments(random, { segments: 4, policies: 8, live: true });

function worldOf(random: Random): World {
  const identities = generateIdentities(random, memberCount);
  const compiler = createCompiler();
  compiler.update({ identities: { set: identities } });
  const learnt = new Map<string, Learnt>();
  for (const member of host.members) {
    for (const address of outside) {
      if (random(2) === 0) continue;
      const answer = { address, names: [pick(random, names), pick(random, names)] };
      learnt.set(`${member.slot} ${address}`, compiler.learn([answer]).learnt[0]!);
    }
  }
  return { compiler, identities, learnt };
}

function govern({ compiler, identities, learnt }: World, policySet: PolicySet): void {
  const ids = [...identities.keys()];
  compiler.update({ policySet, subjects: { added: ids } });
  host.govern(new Map(host.members.map((member, index) => [member, compiler.subject(ids[index]!)!])), compiler.cidrs());
  host.learn(
    [...learnt].flatMap(([key, { address, peer }]) => {
      const slot = Number(key.split(' ')[0]);
      // Whose rules ask for no names has no rows for learnt peers.
      const isLearning = compiler.subject(ids[slot - 1]!)!.learns;
      return peer === null || !isLearning ? [] : [{ slot, address, peer, lapsed: false }];
    }),
  );
}

function attemptOf(random: Random, { identities, learnt }: World, sourcePort: number): Attempt {
  const from = pick(random, host.members);
  const to =
    random(2) === 0
      ? null
      : pick(
          random,
          host.members.filter((member) => member !== from),
        );
  const address = to?.ipv4 ?? pick(random, outside);
  const labelsOf = (member: Member): Labels => [...identities.values()][member.slot - 1]!;
  const known = learnt.get(`${from.slot} ${address}`);
  const protocol = pick(random, [protocols.tcp, protocols.tcp, protocols.udp, protocols.sctp]);
  const port = pick(random, ports);
  const ends: Ends = {
    sourceMac: from.mac,
    destinationMac: from.gatewayMac,
    source: from.ipv4,
    destination: address,
  };
  const frames = {
    [protocols.tcp]: () => [
      tcp(ends, sourcePort, port),
      tcp(ends, sourcePort, port, { flags: tcpFlag.ack, sequence: 1001 }),
    ],
    [protocols.udp]: () => [udp(ends, sourcePort, port), udp(ends, sourcePort, port)],
    [protocols.sctp]: () => [sctp(ends, sourcePort, port, chunk.init), sctp(ends, sourcePort, port, chunk.data)],
  }[protocol]!() as [Buffer, Buffer];
  return {
    flow: {
      source: { kind: 'workload', labels: labelsOf(from) },
      destination:
        to === null
          ? { kind: 'address', address, ...(known === undefined ? {} : { names: known.names }) }
          : { kind: 'workload', labels: labelsOf(to) },
      protocol,
      port,
    },
    ...{ from, to, key: keyOf(protocol, from.ipv4, sourcePort, address, port), first: frames[0], next: frames[1] },
  };
}

type Fate = 'goes on' | 'ends' | 'is asked about' | 'is reset';

const severity = (action: string): number => (action === 'allow' ? 0 : action === 'ask' ? 1 : 2);

/** What decision 6 of the policy reference says, from the verdicts before and after. */
function fateOf({ flow, to }: Attempt, before: PolicySet, after: PolicySet): Fate {
  const [old, now] = [decide(before, flow), decide(after, flow)];
  const sides: readonly (readonly [SideVerdict, SideVerdict])[] =
    to === null
      ? [[old.egress, now.egress]]
      : [
          [old.egress, now.egress],
          [old.ingress, now.ingress],
        ];
  const isOther = ([was, is]: (typeof sides)[number]): boolean => reasonText(was.reason) !== reasonText(is.reason);
  if (sides.some((side) => isOther(side) && side[1].live === 'reset')) return 'is reset';
  const actions = sides.map((side) => (isOther(side) && side[1].live === 'keep' ? 'allow' : side[1].action));
  const worst = Math.max(...actions.map(severity));
  return worst === 0 ? 'goes on' : worst === 1 ? 'is asked about' : 'ends';
}

function states(): Map<string, string> {
  const found = new Map<string, string>();
  host.kernel.maps.forEachConnection(({ protocol, source, sourcePort, destination, destinationPort, state }) =>
    found.set(keyOf(protocol, source, sourcePort, destination, destinationPort), state),
  );
  return found;
}

function forgetAll(): void {
  const keys: Parameters<typeof host.kernel.maps.removeConnections>[0][number][] = [];
  host.kernel.maps.forEachConnection((connection) => keys.push({ ...connection }));
  host.kernel.maps.removeConnections(keys);
}

/** What became of a live connection, from the kernel's answer and table. */
function observed(result: number, state: string | undefined): Fate {
  // A denial may be answered.
  if (state === undefined) return 'ends';
  return result === shot ? 'is asked about' : 'goes on';
}

test(`live connections fare as decide() and \`live\` say, on at least ${connectionsWanted}`, (context) => {
  const random = seededRandom(seed);
  const seen: Record<Fate, number> = { 'goes on': 0, ends: 0, 'is asked about': 0, 'is reset': 0 };
  let connections = 0;
  while (connections < connectionsWanted) {
    const worldSeed = random(2 ** 31);
    const draw = seededRandom(worldSeed);
    const world = worldOf(draw);
    const documents = drawn(draw);
    const [before, after] = [documents, changed(draw, documents)].map(policySetOf) as [PolicySet, PolicySet];
    govern(world, before);
    const { programs, maps } = host.kernel;
    maps.heartbeat();
    const attempts = Array.from({ length: attemptsPerWorld }, (_, index) => attemptOf(draw, world, 10_000 + index));
    for (const { first, from } of attempts) programs.testRun('from_workload', first, { ifindex: from.ifindex });
    const opened = states();
    for (const attempt of attempts)
      assert.equal(
        opened.has(attempt.key),
        decide(before, attempt.flow).action === 'allow',
        `seed ${worldSeed}: ${JSON.stringify(attempt.flow)}`,
      );
    govern(world, after);
    const results = attempts
      .filter(({ key }) => opened.has(key))
      .map((attempt) => {
        const resets = maps.counters().get('connections_reset')!;
        const { result } = programs.testRun('from_workload', attempt.next, { ifindex: attempt.from.ifindex });
        return { attempt, result, isReset: maps.counters().get('connections_reset')! > resets };
      });
    const left = states();
    for (const { attempt, result, isReset } of results) {
      const fate = fateOf(attempt, before, after);
      const found = isReset ? 'is reset' : observed(result, left.get(attempt.key));
      assert.equal(found, fate, `seed ${worldSeed}: ${JSON.stringify(attempt.flow)}`);
      seen[fate]++;
      connections++;
    }
    forgetAll();
  }
  context.diagnostic(`seed ${seed}: ${JSON.stringify(seen)}`);
  for (const [fate, count] of Object.entries(seen))
    assert.ok(count > connectionsWanted / 500, `hardly ever happened: a connection ${fate} (${count})`);
});
