/**
 * The host's own end against `decide()`: generated documents with segments of hosts, compiled for the host as a subject, and generated
 * packets through the programs of its uplink. `BULKHEAD_SEED` repeats a run, `BULKHEAD_HOST_PACKETS` makes it longer.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  type CompiledSubject,
  createCompiler,
  createPolicySet,
  decide,
  type Document,
  type IdentityId,
  isSubject,
  type Labels,
  type Party,
  type PolicySet,
  parseDocument,
  reasonText,
  reservedIdentity,
  segmentsOfParty,
} from '@bulkhead/policy';
import {
  generateAddress,
  generateDocuments,
  generateService,
  pick,
  type Random,
  seededRandom,
} from '@bulkhead/policy/testing';
import { FrameSocket, run } from '../datapath/sockets.ts';
import { hostAddresses, type Member, OracleHost } from './host.ts';
import { generateMessage, keyOf } from './packets.ts';

const seed = Number(process.env['BULKHEAD_SEED'] ?? 20_261_122);
const packetsWanted = Number(process.env['BULKHEAD_HOST_PACKETS'] ?? 20_000);
const packetsPerPolicy = 500;
const hostIdentity = reservedIdentity.host as number as IdentityId;

let oracle: OracleHost;
let host: Member;
/** What is sent here leaves as the host's own: a test run of the program would say that it came in by the interface. */
let socket: FrameSocket;

before(async () => {
  oracle = await OracleHost.open(1);
  run('ip', 'link', 'add', 'u0', 'type', 'veth', 'peer', 'name', 'u1');
  for (const name of ['u0', 'u1']) run('ip', 'link', 'set', 'dev', name, 'up', 'arp', 'off');
  const made = (await oracle.kernel.routes.interfaces()).find(({ name }) => name === 'u0')!;
  oracle.kernel.links.attach(made.ifindex, 'uplink');
  socket = new FrameSocket('u0');
  host = {
    slot: oracle.kernel.maps.limits.hostSlot,
    ifindex: made.ifindex,
    mac: made.mac,
    gatewayMac: '02:00:00:00:02:02',
    ipv4: hostAddresses[0],
    ipv6: hostAddresses[1],
  };
});
after(async () => {
  socket[Symbol.dispose]();
  await oracle[Symbol.asyncDispose]();
});

function parsed(value: unknown): Document {
  const result = parseDocument(value, {});
  assert.ok(result.kind === 'ok', JSON.stringify(result));
  return result.document;
}

/** Segments of hosts, and rules that name them from either end. */
function hostDocuments(random: Random): readonly Document[] {
  const apiVersion = 'bulkhead.dev/v1';
  const posture = (): string => pick(random, ['allow', 'deny', 'reject']);
  const ports = (): unknown => {
    const from = 1 + random(60_000);
    return pick(random, [
      [{ protocol: 'tcp' }],
      [{ protocol: 'udp', port: 53 }],
      [{ protocol: 'tcp', port: from, endPort: from + 5_000 }],
    ]);
  };
  const peers = (): unknown =>
    pick(random, [
      { any: true },
      { host: true },
      { segment: 'machines' },
      { cidr: '10.0.0.0/8' },
      { cidr: '::/0' },
      { cidr: '0.0.0.0/0' },
    ]);
  const rules = Array.from({ length: 1 + random(6) }, (_, index) => ({
    name: `r${index}`,
    action: pick(random, ['allow', 'allow', 'deny', 'reject', 'ask', 'pass']),
    from: peers(),
    to: peers(),
    ...(random(2) === 0 ? { ports: ports() } : {}),
  }));
  return [
    parsed({
      ...{ apiVersion, kind: 'Segment', metadata: { name: 'machines' } },
      spec: {
        hosts: pick(random, [{ all: true }, { names: ['h1'] }]),
        posture: { ingress: posture(), egress: posture() },
        ...(random(4) === 0 ? { lockOutGuard: false } : {}),
      },
    }),
    parsed({
      ...{ apiVersion, kind: 'Policy', metadata: { name: 'of-machines' } },
      spec: { tier: pick(random, ['platform', 'security', 'application', 'baseline']), rules },
    }),
  ];
}

function governAnew(random: Random): { readonly policySet: PolicySet; readonly party: Party } {
  const labels: Labels = {
    'bulkhead.dev/host': 'h1',
    ...(random(2) === 0
      ? { 'bulkhead.dev/guard-ingress': 'tcp-22_tcp-2222', 'bulkhead.dev/guard-egress': 'tcp-7443' }
      : {}),
  };
  const documents = [
    ...generateDocuments(random, { segments: 1 + random(4), policies: 1 + random(6) }),
    ...hostDocuments(random),
  ];
  const made = createPolicySet(documents, { checkCondition: () => null });
  assert.ok(made.kind === 'ok', JSON.stringify(made));
  const { policySet } = made;
  const party: Party = { kind: 'host', labels };
  assert.ok(isSubject(party, segmentsOfParty(policySet, party)));
  const compiler = createCompiler();
  compiler.update({ policySet, host: labels, subjects: { added: [hostIdentity] } });
  const subjects = new Map<Member, CompiledSubject>([[host, compiler.subject(hostIdentity)!]]);
  oracle.govern(subjects, compiler.cidrs());
  return { policySet, party };
}

interface Sent {
  readonly program: 'from_uplink' | 'to_uplink';
  readonly frame: Buffer;
  readonly text: string;
  readonly expected: { readonly action: string; readonly reason: string };
}

function generateSent(
  random: Random,
  policySet: PolicySet,
  party: Party,
  sourcePort: number,
): readonly [string, Sent] | null {
  const address = generateAddress(random);
  const isIpv6 = address.includes(':');
  // To many there is no entry by which to tell.
  if (isIpv6 ? address.startsWith('ff') : Number(address.split('.')[0]) >= 224) return null;
  const own = isIpv6 ? host.ipv6 : host.ipv4;
  const isOut = random(2) === 0;
  const ends = isOut
    ? { sourceMac: host.mac, destinationMac: host.gatewayMac, source: own, destination: address }
    : { sourceMac: host.gatewayMac, destinationMac: host.mac, source: address, destination: own };
  const guarded = { protocol: 6, port: pick(random, [22, 2222, 7443]) };
  const service = random(8) === 0 ? guarded : generateService(random);
  const message = generateMessage(random, ends, isIpv6, sourcePort, service);
  const far: Party = { kind: 'address', address };
  const flow = {
    source: isOut ? party : far,
    destination: isOut ? far : party,
    protocol: message.protocol,
    port: message.port,
  };
  const verdict = decide(policySet, flow);
  const side = isOut ? verdict.egress : verdict.ingress;
  const key = keyOf(message.protocol, ends.source, message.sourcePort, ends.destination, message.port);
  const expected = { action: verdict.action, reason: reasonText(side.reason) };
  return [
    key,
    { program: isOut ? 'to_uplink' : 'from_uplink', frame: message.frame, text: JSON.stringify(flow), expected },
  ];
}

test(`the host's end agrees with decide() on at least ${packetsWanted} generated packets`, (context) => {
  const { maps, programs } = oracle.kernel;
  const random = seededRandom(seed);
  const seen = { packets: 0, policies: 0, allow: 0, deny: 0, reject: 0, ask: 0 };
  while (seen.packets < packetsWanted) {
    const policySeed = random(2 ** 31);
    const drawn = seededRandom(policySeed);
    const { policySet, party } = governAnew(drawn);
    const packets = new Map<string, Sent>();
    for (let attempt = 0; attempt < packetsPerPolicy; attempt++) {
      const sent = generateSent(drawn, policySet, party, 10_000 + attempt);
      if (sent !== null && !packets.has(sent[0])) packets.set(...sent);
    }
    maps.heartbeat();
    for (const { program, frame } of packets.values()) {
      if (program === 'to_uplink') socket.send(frame);
      else programs.testRun(program, frame, { ifindex: host.ifindex });
    }
    const opened = new Map<string, string>();
    const keys: Parameters<typeof maps.removeConnections>[0][number][] = [];
    maps.forEachConnection((each) => {
      const { protocol, source, sourcePort, destination, destinationPort } = each;
      keys.push({ protocol, source, sourcePort, destination, destinationPort });
      const rule = each.sourceSlot === host.slot ? each.egressRule : each.ingressRule;
      opened.set(keyOf(protocol, source, sourcePort, destination, destinationPort), oracle.reasonOf(rule));
    });
    maps.removeConnections(keys);
    for (const [key, { program, text, expected }] of packets) {
      const told = `seed ${seed}, policy seed ${policySeed}: ${program} ${key}\n${text}\ndecide(): ${JSON.stringify(expected)}`;
      assert.equal(opened.get(key), expected.action === 'allow' ? expected.reason : undefined, told);
      seen[expected.action as 'allow' | 'deny' | 'reject' | 'ask'] += 1;
    }
    assert.equal([...opened.keys()].filter((key) => !packets.has(key)).length, 0, `policy seed ${policySeed}`);
    seen.packets += packets.size;
    seen.policies += 1;
  }
  context.diagnostic(`seed ${seed}: ${JSON.stringify(seen)}`);
  for (const action of ['allow', 'deny', 'reject', 'ask'] as const)
    assert.ok(seen[action] > packetsWanted / 200, `${action} hardly ever happened`);
});
