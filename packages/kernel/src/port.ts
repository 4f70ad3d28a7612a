/**
 * The kernel port: everything that Bulkhead asks of a kernel, as plain types. Two adapters stand behind it: Linux (all FFI) and the
 * simulated kernel. Setters are idempotent and readable back; one contract suite runs against both.
 *
 * Addresses are strings in canonical form ("10.1.2.3", "fd00::1"), MAC addresses "02:00:00:00:00:01", times nanoseconds of
 * CLOCK_MONOTONIC as bigint.
 */

/** Sizes of the kernel's tables: every one has a named limit, and a full table denies and says so. */
export interface Limits {
  readonly endpointsMax: number;
  /** The slot of the host's own endpoint, the last; no workload gets it. Without an entry there the host is no subject of policy. */
  readonly hostSlot: number;
  readonly addressesMax: number;
  readonly rowsMax: number;
  readonly portNodesMax: number;
  readonly cidrsMax: number;
  readonly learntMax: number;
  readonly connectionsMax: number;
  readonly puntsMax: number;
  readonly eventsBytes: number;
}

/**
 * `held`: labels unknown, first packets go to the punt device; `governed`: judged; `fenced`: everything drops and is counted.
 * `observed`: judged and reported, never enforced (adoption of a foreign veth before `enforce`).
 */
export type EndpointState = 'held' | 'governed' | 'fenced' | 'observed';

export interface EndpointEntry {
  /** Stable small number of the endpoint on this host, 1 … endpointsMax-1; `hostSlot` is the host itself, of kind `host`. */
  readonly slot: number;
  readonly ifindex: number;
  readonly kind: 'veth' | 'tap' | 'host';
  readonly state: EndpointState;
  /** 24 bits. Together with `ruleset` and `epoch` it becomes visible to packets in one step. */
  readonly identity: number;
  /** 24 bits: which rows are in force. */
  readonly ruleset: number;
  /** 16 bits, changes whenever a live connection of the endpoint must be judged again. */
  readonly epoch: number;
  readonly generation: number;
  readonly mac: string;
  readonly gatewayMac: string;
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  readonly mtu: number;
  /** Most entries in the connection table that this endpoint may own as originator. */
  readonly connectionsMax: number;
  /** What `Maps.learnt` says of it counts; absent is false. Changes, like `state`, without a moment in which packets drop. */
  readonly learns?: boolean;
}

/** Who owns an address: an endpoint of this host, a workload elsewhere, or this machine itself (gateway and host addresses). */
export type AddressEntry =
  | { readonly kind: 'endpoint'; readonly slot: number }
  | { readonly kind: 'remote'; readonly identity: number; readonly host: string }
  | { readonly kind: 'host' };

export type VerdictAction = 'allow' | 'deny' | 'reject' | 'ask';

/**
 * What becomes of a live connection that is judged again and finds another rule than the one that it recorded (absent: judged as any
 * other). `keep`: it goes on whatever the action is, and nothing new is admitted by that. `reset`: it ends whatever the action is; whoever
 * of both ends speaks of it is told with a TCP reset, an SCTP abort or an ICMP unreachable. `stay`: for rows that stand between two
 * others: it goes on as it was judged before, until rows come that say something else.
 */
export type VerdictLive = 'keep' | 'reset' | 'stay';

/** `rule` is a 26-bit number whose meaning the agent keeps; the kernel only carries it. */
export interface KernelVerdict {
  readonly action: VerdictAction;
  readonly rule: number;
  readonly live?: VerdictLive;
}

/** A port function: ranges sorted by (protocol, from), disjoint, ends inclusive; `otherwise` fills the gaps. */
export interface KernelPortTable {
  readonly ranges: readonly {
    readonly protocol: number;
    readonly from: number;
    readonly to: number;
    readonly verdict: KernelVerdict;
  }[];
  readonly otherwise: KernelVerdict;
}

/** Reference to a port table in the kernel, or to a verdict that needs none. Made by `Maps.addPortTable`. */
export type PortRoot = number & { readonly root: unique symbol };

/** An address outside as one endpoint learnt it by name. */
export interface LearntKey {
  readonly slot: number;
  readonly address: string;
}
export interface LearntEntry extends LearntKey {
  readonly peer: number;
  /** Its time is over: live connections are still judged by it, new ones are not. */
  readonly lapsed: boolean;
}

export type KernelDirection = 'egress' | 'ingress';

export interface Row {
  readonly ruleset: number;
  readonly direction: KernelDirection;
  /** Identity, CIDR peer, or 0 for every peer without a row. 32 bits. */
  readonly peer: number;
  readonly root: PortRoot;
}
export type RowKey = Omit<Row, 'root'>;

export interface ConnectionKey {
  readonly protocol: number;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  /** For ICMP `type * 256 + code` of the asking message; the source port is then the echo identifier, 0 for other types. */
  readonly destinationPort: number;
}

/**
 * An exception of the host's own end. `guard`: allowed whatever the rules say, told as `rule` (never 0); `address` is the far end's.
 * `published`: the host's NAT gives what comes to this port to a workload, whose own end judges it; `address` is the host's. `0.0.0.0` and
 * `::` stand for every address of their family; `port` as in a connection's key, 0 for protocols without.
 */
export type HostPort =
  | {
      readonly kind: 'guard';
      readonly direction: KernelDirection;
      readonly protocol: number;
      readonly port: number;
      readonly address: string;
      readonly rule: number;
    }
  | { readonly kind: 'published'; readonly protocol: number; readonly port: number; readonly address: string };

/** Of TCP, and of SCTP's associations likewise. `reset`: a rule ended it; it is there only so that both ends learn of it. */
export type TcpState = 'none' | 'syn-sent' | 'established' | 'closing' | 'closed' | 'reset';

export interface Connection extends ConnectionKey {
  readonly sourceSlot: number;
  readonly destinationSlot: number;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  readonly egressRule: number;
  readonly ingressRule: number;
  readonly state: TcpState;
  /** True when a decision of the manager admitted it. */
  readonly decided: boolean;
  /** True when the kernel programs already wrote a `close` event for it. */
  readonly reported: boolean;
  readonly revision: number;
  readonly firstSeenNs: bigint;
  readonly lastSeenNs: bigint;
  /** Originator to responder, and back. */
  readonly packets: readonly [bigint, bigint];
  readonly bytes: readonly [bigint, bigint];
}

/** Why the kernel programs dropped, or otherwise counted, a packet. The list is generated from bpf/maps.h. */
export type CounterName = string;

export interface KernelEvent {
  readonly kind: 'new' | 'deny' | 'drop' | 'ask' | 'close';
  /** Counter name that explains a `drop` or `deny`. */
  readonly reason: CounterName;
  readonly atNs: bigint;
  /** The endpoint that it is charged to: the sender, or the receiver of what comes from outside. */
  readonly slot: number;
  /** 0 where the side is no endpoint of this host. */
  readonly sourceSlot: number;
  readonly destinationSlot: number;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  readonly egressRule: number;
  readonly ingressRule: number;
  readonly key: ConnectionKey;
  readonly revision: number;
  /** Length of the packet that the event is about. */
  readonly bytes: number;
  readonly tcpState: TcpState;
  /** The endpoint is `observed`: a denial that was not enforced. */
  readonly observed: boolean;
  /** For `close`: the connection's life, originator to responder, and back. Zero for the other kinds. */
  readonly firstSeenNs: bigint;
  readonly totalPackets: readonly [bigint, bigint];
  readonly totalBytes: readonly [bigint, bigint];
}

/** A packet that the kernel held: what it knew when it did. The frame is Ethernet, at most 65,535 bytes. */
export interface Punt {
  /** One-time id; the re-injected frame carries it, the kernel consumes it. */
  readonly id: number;
  readonly reason: 'ask' | 'held';
  readonly sourceSlot: number;
  readonly destinationSlot: number;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  /** Rules of the sides that asked; 0 where a side did not ask. */
  readonly egressRule: number;
  readonly ingressRule: number;
  readonly key: ConnectionKey;
  readonly atNs: bigint;
}

export interface KernelConfig {
  readonly revision: number;
  readonly puntIfindex: number;
  readonly overlayIfindex: number;
  /** Tokens per second and burst of punts per endpoint. */
  readonly puntRate: number;
  readonly puntBurst: number;
  /** Source of the ICMP errors that the programs build; without one they use the packet's own destination. */
  readonly gatewayIpv4: string | null;
  readonly gatewayIpv6: string | null;
}

export interface Maps {
  readonly limits: Limits;
  setConfig(config: KernelConfig): void;
  config(): KernelConfig;
  /** Tells the programs that the agent lives; without it for `heartbeatMaxMs` the kernel sweeps the connection table itself. */
  heartbeat(): void;

  setEndpoint(entry: EndpointEntry): void;
  removeEndpoint(slot: number): void;
  endpoints(): readonly EndpointEntry[];
  /** One entry, read back; undefined where there is none. As cheap as a lookup, as are `address` and `row`. */
  endpoint(slot: number): EndpointEntry | undefined;
  /** Whether the entry, read back, is this one in every field: for a comparison of many. */
  hasEndpoint(entry: EndpointEntry): boolean;

  setAddress(address: string, entry: AddressEntry): void;
  removeAddress(address: string): void;
  addresses(): ReadonlyMap<string, AddressEntry>;
  address(address: string): AddressEntry | undefined;

  /** These and no others from now on; what is in both sets is there throughout. */
  setHostPorts(entries: readonly HostPort[]): void;
  hostPorts(): readonly HostPort[];

  /**
   * Stores a port table (shared by content, also with what was pinned before a reopen) and returns its root, with one more reference.
   * Throws KernelError 'full' and stores nothing when there is no room. After a reopen every root that a row refers to has exactly one
   * reference, and nodes that no row reaches are free.
   */
  addPortTable(table: KernelPortTable): PortRoot;
  /** The content of a root, read back from the kernel's nodes: equal to what `addPortTable` was given, adjacent equal ranges merged. */
  portTable(root: PortRoot): KernelPortTable;
  /** Gives back one reference; nodes are reused only after every packet that might see them is done. */
  releasePortTable(root: PortRoot): void;
  setRows(rows: readonly Row[]): void;
  removeRows(keys: readonly RowKey[]): void;
  rows(): readonly Row[];
  row(key: RowKey): PortRoot | undefined;

  setCidrs(entries: readonly { readonly cidr: string; readonly peer: number }[]): void;
  removeCidrs(cidrs: readonly string[]): void;
  cidrs(): readonly { readonly cidr: string; readonly peer: number }[];

  /**
   * Peers that addresses outside are to single endpoints. Each entry takes effect at once, so the rows of a peer have to be there before.
   * Throws KernelError 'full' at the first entry that does not fit; those before it are stored.
   */
  setLearnt(entries: readonly LearntEntry[]): void;
  removeLearnt(keys: readonly LearntKey[]): void;
  learnt(): readonly LearntEntry[];
  learntPeer(key: LearntKey): Omit<LearntEntry, keyof LearntKey> | undefined;

  /** A batch walk over the live connections; the visitor may not keep its argument. */
  forEachConnection(visit: (connection: Connection) => void): void;
  removeConnections(keys: readonly ConnectionKey[]): void;
  /** Removes what protocol timeouts say is over, and reports each removed entry once. Returns how many. */
  sweepConnections(onClosed: (connection: Connection) => void): number;

  counters(): ReadonlyMap<CounterName, bigint>;
  /** Drop counters of one endpoint. */
  endpointCounters(slot: number): ReadonlyMap<CounterName, bigint>;
}

/** Object files, pins and hot swap. */
export interface Programs {
  /** Loads the object (or reopens its pins), replaces running programs without losing a packet when the object changed. */
  load(): { readonly kind: 'loaded' | 'reopened' | 'replaced'; readonly layout: string };
  /** Names of the programs that are loaded. */
  loaded(): readonly string[];
  /** Runs one program over one frame (BPF_PROG_TEST_RUN): result code, frame afterwards, nanoseconds per run. */
  testRun(
    program: string,
    frame: Uint8Array,
    options: { readonly ifindex: number; readonly mark?: number; readonly repeat?: number },
  ): {
    readonly result: number;
    readonly frame: Uint8Array;
    readonly nsPerRun: number;
  };
  /** Removes pins and programs. Everything that depended on them is denied by the host's forward chain. */
  unload(): void;
}

/** `uplink`: what leaves the machine and comes into it; there the host itself is judged, where it is a subject. */
export type Hook = 'workload' | 'uplink' | 'overlay' | 'punt';

/** Attachments of programs to interfaces. */
export interface Links {
  /** Attaches the programs of a hook (tcx, clsact where tcx is missing). Idempotent. */
  attach(ifindex: number, hook: Hook): void;
  detach(ifindex: number, hook: Hook): void;
  /** Read back from the kernel, not from memory: of one hook, or of all. */
  attached(hook?: Hook): readonly { readonly ifindex: number; readonly hook: Hook }[];
}

export interface InterfaceInfo {
  readonly ifindex: number;
  readonly name: string;
  readonly kind: string;
  readonly mac: string;
  readonly up: boolean;
  readonly mtu: number;
  readonly addresses: readonly string[];
  readonly master: number;
  /** ifindex of a veth's peer (in whichever namespace it is), else 0. */
  readonly peerIfindex: number;
}

/** Interfaces, addresses, routes and the host's nftables, of the network namespace that the adapter was opened in. */
export interface Routes {
  interfaces(): Promise<readonly InterfaceInfo[]>;
  createVeth(spec: {
    readonly name: string;
    readonly peer: string;
    readonly mac: string;
    readonly peerMac: string;
    readonly mtu: number;
  }): Promise<InterfaceInfo>;
  deleteInterface(name: string): Promise<void>;
  setUp(name: string, up: boolean): Promise<void>;
  setRoute(cidr: string, name: string): Promise<void>;
  removeRoute(cidr: string, name: string): Promise<void>;
  /** What no other route of the host leads to is unreachable in this network: a route to any part of it wins, and so does one to the same network. */
  setUnreachable(cidr: string): Promise<void>;
  removeUnreachable(cidr: string): Promise<void>;
  setAddress(name: string, cidr: string): Promise<void>;
  removeAddress(name: string, cidr: string): Promise<void>;
  setSysctl(path: string, value: string): Promise<void>;
  /** Replaces the whole nftables table of ours in one transaction. Text in nft syntax. */
  setRuleset(table: string, text: string): Promise<void>;
  removeRuleset(table: string): Promise<void>;
  /** Current text of the table as nft lists it, null where it is absent. */
  ruleset(table: string): Promise<string | null>;
}

export interface Events {
  /** Drains the ring; returns how many events were delivered. `lost` counts what the kernel could not write. */
  drain(visit: (event: KernelEvent) => void, eventsMax: number): number;
  lost(): bigint;
}

/** The punt device: held packets out, the same frames back in. */
export interface PuntDevice extends AsyncDisposable {
  readonly ifindex: number;
  /** Called for every held packet, with a frame that belongs to the callee. */
  onPunt(handler: (punt: Punt, frame: Uint8Array) => void): void;
  /**
   * Admits the connection that was held and sends the frame on its way. The kernel refuses (`stale`) when policy, generation or
   * identity changed since the punt: ask again.
   */
  admit(punt: Punt, frame: Uint8Array, options: { readonly revision: number }): 'sent' | 'stale' | 'full';
  /** Sends a frame that was held for an unknown workload to be judged anew. */
  judge(punt: Punt, frame: Uint8Array): 'sent' | 'stale' | 'full';
  /** Gives up a held packet; with `reject` the sender gets a TCP reset or an ICMP unreachable. */
  refuse(punt: Punt, frame: Uint8Array, reject: boolean): void;
  /** Packets that came while nobody could take them. */
  lost(): bigint;
}

export interface Kernel extends AsyncDisposable {
  readonly maps: Maps;
  readonly programs: Programs;
  readonly links: Links;
  readonly routes: Routes;
  readonly events: Events;
  /** Opens the device with its program attached. KernelError EBUSY while another process has it, ENOENT before `programs.load()`. */
  openPuntDevice(): Promise<PuntDevice>;
  nowNs(): bigint;
}

/** The environment failed: errno and what was being done. The item stays dirty and is retried. */
export class KernelError extends Error {
  readonly code: string;
  readonly operation: string;
  constructor(operation: string, code: string, options?: { readonly cause?: unknown; readonly detail?: string }) {
    super(`${operation}: ${code}${options?.detail === undefined ? '' : ` (${options.detail})`}`, options);
    this.name = 'KernelError';
    this.operation = operation;
    this.code = code;
  }
}
