/**
 * Runs inside the host's namespace (see topology.ts): our datapath between the two workloads, with a stated number of policies. Speaks
 * JSON lines: prints `{"ready": …}`, then answers `{"first": POLICIES}` on standard input with the costs of packets, by test run.
 */
import { openLinuxKernel, type EndpointEntry, type LinuxKernel } from '@bulkhead/kernel';
import { createInterface } from 'node:readline';
import process from 'node:process';
import { median } from '../contract.ts';
import { tcpFrame } from './frames.ts';
import {
  addDestinations,
  loadPolicies,
  randomSource,
  sourceIdentity,
  type AllowedFlow,
  type PolicySet,
} from './policies.ts';
import { addressA, addressB, gateway, gatewayMacA, gatewayMacB, macA, macB } from './topology.ts';

const [pinRoot, policyCount, sample] = process.argv.slice(2);
const slotA = 1;
const slotB = 2;
const rulesetB = 2;
const flowsOfWorkingSet = 64;

export interface PacketCosts {
  /** Nanoseconds per packet: of an open connection; the first of a new one; one that is denied. */
  readonly hit: number;
  readonly new: number;
  readonly deny: number;
  /** The first packets of flows spread over all policies (most of them to networks), so that tables are cold in the processor's caches. */
  readonly newCold: number;
}

function endpoint(
  slot: number,
  ifindex: number,
  identity: number,
  ruleset: number,
  mac: string,
  gatewayMac: string,
  ipv4: string,
): EndpointEntry {
  return {
    slot,
    ifindex,
    kind: 'veth',
    state: 'governed',
    identity,
    ruleset,
    epoch: 1,
    generation: 1,
    mac,
    gatewayMac,
    ipv4,
    ipv6: null,
    mtu: 1500,
    connectionsMax: 200_000,
  };
}

async function attach(kernel: LinuxKernel): Promise<{ ifindexA: number; base: EndpointEntry }> {
  const interfaces = await kernel.routes.interfaces();
  const index = (name: string): number => interfaces.find((one) => one.name === name)!.ifindex;
  const [ifindexA, ifindexB] = [index('va'), index('vb')];
  const base = endpoint(slotA, ifindexA, sourceIdentity, 3, macA, gatewayMacA, addressA);
  kernel.maps.setConfig({
    revision: 1,
    puntIfindex: 0,
    overlayIfindex: 0,
    puntRate: 1000,
    puntBurst: 1000,
    gatewayIpv4: gateway,
    gatewayIpv6: null,
  });
  kernel.maps.setEndpoint(base);
  kernel.maps.setEndpoint(endpoint(slotB, ifindexB, 1_000_000, rulesetB, macB, gatewayMacB, addressB));
  kernel.maps.setAddress(addressA, { kind: 'endpoint', slot: slotA });
  kernel.maps.setAddress(addressB, { kind: 'endpoint', slot: slotB });
  const ports = kernel.maps.addPortTable({
    ranges: [{ protocol: 6, from: 7000, to: 7000, verdict: { action: 'allow', rule: 3 } }],
    otherwise: { action: 'deny', rule: 1 },
  });
  kernel.maps.setRows([{ ruleset: rulesetB, direction: 'ingress', peer: sourceIdentity, root: ports }]);
  for (const ifindex of [ifindexA, ifindexB]) kernel.links.attach(ifindex, 'workload');
  return { ifindexA, base };
}

/** Puts a ruleset of `count` policies in force for the source, with the one that lets the traffic through. */
function govern(kernel: LinuxKernel, base: EndpointEntry, ruleset: number, count: number): PolicySet {
  const set = loadPolicies(kernel, ruleset, count, 1);
  const ports = kernel.maps.addPortTable({
    ranges: [{ protocol: 6, from: 7000, to: 7000, verdict: { action: 'allow', rule: 3 } }],
    otherwise: { action: 'deny', rule: 1 },
  });
  kernel.maps.setRows([{ ruleset, direction: 'egress', peer: 1_000_000, root: ports }]);
  kernel.maps.setEndpoint({ ...base, ruleset });
  return set;
}

function syn(flow: AllowedFlow, sourcePort: number, flags = 2): Uint8Array {
  return tcpFrame({
    sourceMac: macA,
    destinationMac: gatewayMacA,
    source: addressA,
    destination: flow.destination,
    sourcePort,
    destinationPort: flow.port,
    flags,
  });
}

/** Median cost of one packet each of many flows, no two of them of one connection. */
function costOf(
  kernel: LinuxKernel,
  ifindex: number,
  flows: readonly AllowedFlow[],
  packets: number,
  allowed: boolean,
): number {
  const costs: number[] = [];
  for (let i = 0; i < packets; i++) {
    const flow = flows[i % flows.length]!;
    const { result, nsPerRun } = kernel.programs.testRun(
      'from_workload',
      syn(allowed ? flow : { ...flow, port: 1 }, 1024 + i),
      { ifindex },
    );
    if ((result !== 2) !== allowed)
      throw new Error(`a packet to ${flow.destination}:${flow.port} ended with ${result}, allowed is ${allowed}`);
    costs.push(nsPerRun);
  }
  return median(costs);
}

function forget(kernel: LinuxKernel): void {
  const keys: Parameters<LinuxKernel['maps']['removeConnections']>[0][number][] = [];
  kernel.maps.forEachConnection((one) => {
    if (one.destinationPort !== 7000)
      keys.push({
        protocol: one.protocol,
        source: one.source,
        sourcePort: one.sourcePort,
        destination: one.destination,
        destinationPort: one.destinationPort,
      });
  });
  kernel.maps.removeConnections(keys);
}

function packetCosts(kernel: LinuxKernel, ifindex: number, set: PolicySet): PacketCosts {
  const random = randomSource(7);
  const near = set.flows.slice(0, flowsOfWorkingSet);
  const spread = Array.from({ length: 4096 }, () => set.flows[Math.floor(random() * set.flows.length)]!);
  const packets = 8192;
  const fresh = costOf(kernel, ifindex, near, packets, true);
  const hit = kernel.programs.testRun('from_workload', syn(near[0]!, 1024, 16), { ifindex, repeat: 200_000 }).nsPerRun;
  forget(kernel);
  const deny = costOf(kernel, ifindex, near, packets, false);
  const newCold = costOf(kernel, ifindex, spread, packets, true);
  forget(kernel);
  return { hit, new: fresh, deny, newCold };
}

async function main(): Promise<void> {
  const kernel = openLinuxKernel({ pinRoot: pinRoot! });
  kernel.programs.load();
  const { ifindexA, base } = await attach(kernel);
  if (sample !== undefined) addDestinations(kernel, base);
  const sets = new Map<number, { ruleset: number; set: PolicySet }>();
  const ready = govern(kernel, base, 3, Number(policyCount));
  sets.set(Number(policyCount), { ruleset: 3, set: ready });
  console.log(JSON.stringify({ ready: { loadMs: ready.loadMs } }));
  const beat = setInterval(() => kernel.maps.heartbeat(), 500);
  for await (const line of createInterface({ input: process.stdin })) {
    const { first } = JSON.parse(line) as { first: number };
    const made = sets.get(first) ?? { ruleset: 1000 + sets.size, set: govern(kernel, base, 1000 + sets.size, first) };
    sets.set(first, made);
    kernel.maps.setEndpoint({ ...base, ruleset: made.ruleset });
    console.log(JSON.stringify({ costs: packetCosts(kernel, ifindexA, made.set) }));
  }
  clearInterval(beat);
  kernel.programs.unload();
  await kernel[Symbol.asyncDispose]();
}

await main();
