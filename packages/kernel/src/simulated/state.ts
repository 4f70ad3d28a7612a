/** What a simulated machine's kernel holds: pinned tables, which outlive the agent, and interfaces, which outlive it too. */
import { counterNames, limit } from '../generated/maps.ts';
import type {
  AddressEntry,
  CounterName,
  EndpointEntry,
  HostPort,
  Hook,
  InterfaceInfo,
  KernelConfig,
  KernelEvent,
  LearntEntry,
  LearntKey,
  Limits,
  PortRoot,
  TcpState,
} from '../port.ts';
import type { PortNode } from '../port-tree.ts';
import type { Packet } from './frame.ts';
import type { Arrival } from './packet-judging.ts';

/** Numbers per side: 0 originator (or egress), 1 responder (or ingress). */
export type Pair<T> = [T, T];

export interface TableConnection {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  slot: Pair<number>;
  /** Texts of {identity, ruleset, epoch, state} when it was judged; '' where the side is no endpoint. */
  word: Pair<string>;
  identity: Pair<number>;
  rule: Pair<number>;
  /** Sides whose rule lets it live on only because it lived. */
  kept: Pair<boolean>;
  state: TcpState;
  decided: boolean;
  replied: boolean;
  reported: boolean;
  fin: Pair<number | null>;
  finAcked: Pair<boolean>;
  sequence: number;
  /** The other host of a connection through the tunnel. */
  overlayHost: string | null;
  revision: number;
  firstSeenNs: bigint;
  lastSeenNs: bigint;
  idleNs: bigint;
  packets: Pair<bigint>;
  bytes: Pair<bigint>;
}

export interface HeldPacket {
  readonly atNs: bigint;
  /** Slots, identities, asking rules and generations in the connection's order. */
  readonly slot: Pair<number>;
  readonly identity: Pair<number>;
  readonly rule: Pair<number>;
  readonly generation: Pair<number>;
  readonly reason: 'ask' | 'held';
  readonly arrival: Arrival;
  /** Slot whose bound it counts against. */
  readonly charged: number;
  /** The packet goes against the connection's direction. */
  readonly fromResponder: boolean;
  readonly packet: Packet;
}

export interface Usage {
  connections: Pair<number>;
  punts: number;
  puntDueNs: bigint;
  refusalEventDueNs: bigint;
  connectionEventDueNs: bigint;
}

/** Everything in bpffs: survives the agent, not the machine. */
export interface Pinned {
  objectVersion: number;
  config: KernelConfig;
  heartbeatNs: bigint;
  recycleAtNs: bigint;
  readonly endpoints: Map<number, EndpointEntry>;
  readonly usage: Map<number, Usage>;
  readonly addresses: Map<string, AddressEntry>;
  /** By their text. */
  readonly hostPorts: Map<string, HostPort>;
  /** Keys of connections that left under the host's address without being its own. */
  readonly translated: Set<string>;
  /** `ruleset * 2 + ingress` and peer, as text. */
  readonly rows: Map<string, PortRoot>;
  readonly nodes: Map<number, PortNode>;
  readonly cidrs: Map<string, number>;
  /** By `learntKey`. */
  readonly learnt: Map<string, LearntEntry>;
  readonly connections: Map<string, TableConnection>;
  readonly punts: Map<number, HeldPacket>;
  readonly pendings: Map<string, { readonly atNs: bigint; readonly id: number }>;
  readonly events: KernelEvent[];
  readonly counters: Map<CounterName, bigint>;
  readonly endpointCounters: Map<number, Map<CounterName, bigint>>;
  /** Hooks by interface. */
  readonly links: Map<number, Set<Hook>>;
}

export interface SimulatedInterface extends InterfaceInfo {
  readonly routes: ReadonlySet<string>;
}

/** Kernel state outside of bpffs: lost only with the machine. */
export interface Network {
  nextIfindex: number;
  readonly interfaces: Map<string, SimulatedInterface>;
  readonly sysctls: Map<string, string>;
  readonly rulesets: Map<string, string>;
  readonly unreachable: Set<string>;
}

export const defaultLimits: Limits = {
  endpointsMax: limit.endpointsMax,
  hostSlot: limit.hostSlot,
  addressesMax: limit.addressesMax,
  rowsMax: limit.rowsMax,
  portNodesMax: limit.portNodesMax,
  cidrsMax: limit.cidrsMax,
  learntMax: limit.learntMax,
  connectionsMax: limit.connectionsMax,
  puntsMax: limit.puntsMax,
  eventsBytes: limit.eventsBytes,
};

export function emptyPinned(objectVersion: number): Pinned {
  return {
    objectVersion,
    config: {
      revision: 0,
      puntIfindex: 0,
      overlayIfindex: 0,
      puntRate: 0,
      puntBurst: 0,
      gatewayIpv4: null,
      gatewayIpv6: null,
    },
    heartbeatNs: 0n,
    recycleAtNs: 0n,
    endpoints: new Map(),
    usage: new Map(),
    addresses: new Map(),
    hostPorts: new Map(),
    translated: new Set(),
    rows: new Map(),
    nodes: new Map(),
    cidrs: new Map(),
    learnt: new Map(),
    connections: new Map(),
    punts: new Map(),
    pendings: new Map(),
    events: [],
    counters: new Map(counterNames.map((name) => [name, 0n])),
    endpointCounters: new Map(),
    links: new Map(),
  };
}

export function learntKey({ slot, address }: LearntKey): string {
  return `${slot} ${address}`;
}

export function emptyNetwork(): Network {
  return {
    nextIfindex: 1,
    interfaces: new Map(),
    sysctls: new Map(),
    rulesets: new Map(),
    unreachable: new Set(),
  };
}

export function usageOf(pinned: Pinned, slot: number): Usage {
  let usage = pinned.usage.get(slot);
  if (usage === undefined) {
    usage = { connections: [0, 0], punts: 0, puntDueNs: 0n, refusalEventDueNs: 0n, connectionEventDueNs: 0n };
    pinned.usage.set(slot, usage);
  }
  return usage;
}

export function count(pinned: Pinned, reason: CounterName, slot = 0): void {
  pinned.counters.set(reason, (pinned.counters.get(reason) ?? 0n) + 1n);
  if (slot === 0) return;
  let mine = pinned.endpointCounters.get(slot);
  if (mine === undefined) {
    mine = new Map();
    pinned.endpointCounters.set(slot, mine);
  }
  mine.set(reason, (mine.get(reason) ?? 0n) + 1n);
}
