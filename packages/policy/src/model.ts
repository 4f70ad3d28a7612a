/**
 * The vocabulary of policy as types: what documents say, who takes part in a flow, and what a verdict is.
 * Nothing here knows a kernel, a socket or a clock.
 */

declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** Cluster-wide number of one distinct set of policy-relevant labels. 24 bits, allocated in the ledger. */
export type IdentityId = Brand<number, 'IdentityId'>;

/**
 * What a row of the kernel's tables is keyed by on the far side of a connection: an `IdentityId` (below 2^24), or the number of a
 * CIDR peer (2^24 and above, local to one compiler, never sent between hosts).
 */
export type PeerId = Brand<number, 'PeerId'>;

/** Identities with a fixed number. Workload identities start at `identityFirst`. */
export const reservedIdentity = {
  /** Row key that stands for "every peer without a row of its own". Never an identity of anything. */
  any: 0,
  /** The machine itself: its own addresses, gateway addresses included. */
  host: 1,
  /** An address outside every network that a document names. */
  world: 2,
  /** A workload whose labels are not known yet. Nothing is allowed to or from it. */
  unknown: 3,
} as const;
export const identityFirst = 256;
export const identityMax = 2 ** 24 - 1;
export const cidrPeerFirst = 2 ** 24;

/** `key → value`; a key is a Kubernetes label key (`name` or `prefix/name`). */
export type Labels = Readonly<Record<string, string>>;

/**
 * Labels under this prefix are facts: set by agent and manager from what they measured, never claimable by whoever starts a container.
 * `bulkhead.dev/host`, `bulkhead.dev/image` (digest), `bulkhead.dev/class`, `bulkhead.dev/boundary`, `bulkhead.dev/engine`.
 */
export const factPrefix = 'bulkhead.dev/';

/**
 * Labels under this prefix say what the named ports of a workload are: `ports.bulkhead.dev/http: tcp-8080`. A name that stands for
 * several has them with `_` between (`tcp-53_udp-53`). Claims, as in Kubernetes.
 */
export const namedPortPrefix = 'ports.bulkhead.dev/';

/** The label that says in which Kubernetes namespace a workload is. */
export const namespaceLabel = 'io.kubernetes.pod.namespace';

export type Action = 'allow' | 'deny' | 'reject' | 'ask';
export type Direction = 'egress' | 'ingress';

/** Transport protocols that documents can name. `any` is every IP protocol. */
export type ProtocolName = 'tcp' | 'udp' | 'icmp' | 'icmpv6' | 'sctp' | 'any';
export const protocolNumber = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;

/** One side of a flow as policy sees it. */
export type Party =
  | { readonly kind: 'workload'; readonly labels: Labels; readonly name?: string }
  /** `names`: what the other side of the flow learnt the address to be, from answers to its own questions; lower case, no dot at the end. */
  | { readonly kind: 'address'; readonly address: string; readonly names?: readonly string[] }
  /** A machine itself. `labels` are facts about it (`bulkhead.dev/host`) and what its agent was told to say. */
  | { readonly kind: 'host'; readonly labels?: Labels }
  /** A workload whose labels are not known yet. */
  | { readonly kind: 'unknown' };

/**
 * One connection or attempt. `port` is the destination port for TCP, UDP and SCTP, `type * 256 + code` for ICMP and ICMPv6, and 0 for
 * every other protocol.
 */
export interface Flow {
  readonly source: Party;
  readonly destination: Party;
  readonly protocol: number;
  readonly port: number;
}

/**
 * What decided: a rule of a policy, the posture of a segment or namespace, or something built in. `policy` is the name of a Policy, or
 * `NetworkPolicy:NAMESPACE/NAME`, `AdminNetworkPolicy:NAME` and so on.
 */
export type Reason =
  | { readonly kind: 'rule'; readonly tier: string; readonly policy: string; readonly rule: string }
  | { readonly kind: 'posture'; readonly segment: string }
  /** The workload is in no segment, and its Kubernetes namespace has a document: open, as Kubernetes is. */
  | { readonly kind: 'namespace'; readonly namespace: string }
  /**
   * `no-segment`: the workload is in no segment, so default deny; `resolver`: DNS to the gateway, below every tier; `not-a-subject`:
   * this side is no workload, nor a host in a segment; `unknown`: the labels of one side are not known yet; `isolation`: the workload's
   * measured isolation is less than a segment of it demands; `lock-out-guard`: what a host needs to be reached and mended.
   */
  | { readonly kind: 'builtin'; readonly name: BuiltinReason };

export type BuiltinReason = 'no-segment' | 'resolver' | 'not-a-subject' | 'unknown' | 'isolation' | 'lock-out-guard';

/** The verdict of one side (source's egress or destination's ingress). */
export interface SideVerdict {
  readonly action: Action;
  readonly reason: Reason;
  /**
   * With `ask` only: changes whenever the terms of the question do (`when`, `otherwise`, `hold`, …), so that a decision taken under
   * other terms is not used for it.
   */
  readonly terms?: string;
  /**
   * What becomes of a live connection when this verdict takes the place of another rule's: `keep` lets it go on, `reset` ends it,
   * whatever the action. Absent: it is judged by the action.
   */
  readonly live?: 'keep' | 'reset';
}

/** The verdict of both sides. The ends combine as deny = reject > ask > allow; with two denials the egress side's form counts. */
export interface Verdict {
  readonly action: Action;
  readonly egress: SideVerdict;
  readonly ingress: SideVerdict;
}

/** A contiguous piece of protocol x port space with one verdict. `from` and `to` are inclusive; see `Flow.port`. */
export interface PortRange {
  readonly protocol: number;
  readonly from: number;
  readonly to: number;
  readonly verdict: SideVerdict;
}

/**
 * A function of (protocol, port), the same object for every row that shares it (hash-consed by one compiler). `key` is equal exactly
 * when the functions are equal. `ranges` are sorted by (protocol, from), disjoint, and say only what differs from `otherwise`.
 */
export interface PortTable {
  readonly key: string;
  readonly ranges: readonly PortRange[];
  readonly otherwise: SideVerdict;
}

/** The tables of one identity in one direction. A peer without a row of its own has `others`. */
export interface CompiledDirection {
  readonly rows: ReadonlyMap<PeerId, PortTable>;
  readonly others: PortTable;
}

export interface CompiledSubject {
  readonly identity: IdentityId;
  readonly egress: CompiledDirection;
  readonly ingress: CompiledDirection;
  /** Whether what it learnt by name counts for its egress. */
  readonly learns: boolean;
}

/** A network that some document names, as a peer. The longest matching prefix gives an address its peer; none gives `world`. */
export interface CidrPeer {
  readonly cidr: string;
  readonly peer: PeerId;
}

/** A fault in a document: where, what, and what would be allowed there. */
export interface Problem {
  /** e.g. `spec.rules[2].ports[0].port` */
  readonly path: string;
  readonly reason: string;
  readonly allowed?: string;
  /** kind/name of the document, and its file where known. */
  readonly document?: string;
  readonly file?: string;
}
