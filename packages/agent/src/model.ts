/**
 * What the agent knows of its own host, as plain records, and the ports between its core (policy into the kernel, questions, flows,
 * link) and what attaches workloads (engine plugins, network namespaces, taps). `attach/` calls `EndpointRegistry` and implements
 * `Attachment`; the core does the opposite.
 */
import type { Kernel } from '@bulkhead/kernel';
import type { Labels } from '@bulkhead/policy';
import type { DivergenceRecord, FlowRecord } from '@bulkhead/protocol';
import type { Logger } from 'pino';
import type { AgentState } from './state.ts';

/** `enforce`: the endpoint is judged; `observe`: judged and reported only (a foreign veth before `bulkhead adopt --enforce`). */
export type EndpointMode = 'enforce' | 'observe';

/** A port at which the host's NAT gives what comes to it to a workload. */
export interface PublishedAt {
  readonly protocol: number;
  readonly port: number;
  /** Of the host; `0.0.0.0` and `::` for every one of the family. */
  readonly address: string;
}

/** What whoever attaches an endpoint knows when the interface exists and its link is still down. */
export interface EndpointSpec {
  /** Unique on this host and stable over restarts of the agent: the engine's endpoint id, or `netns-…`, `tap-…`, `adopted-…`. */
  readonly endpoint: string;
  readonly kind: 'veth' | 'tap';
  /** Of the host's side. */
  readonly ifindex: number;
  readonly interfaceName: string;
  /** The workload's own MAC address: a frame with another is spoofed. */
  readonly mac: string;
  /** The MAC address that the workload's gateway answers with. */
  readonly gatewayMac: string;
  /** Without prefix length. At least one of the two is set. */
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  readonly mtu: number;
  /** Name of the network as its engine shows it; '' for a hand-made attachment. */
  readonly network: string;
  /** Labels claimed through the attachment (`--network name=…,driver-opt=bulkhead.KEY=VALUE`), not through the workload. */
  readonly labels: Labels;
  readonly mode: EndpointMode;
}

export interface LocalEndpoint extends EndpointSpec {
  /** Number in the kernel's tables, 1 … endpointsMax-1. */
  readonly slot: number;
  /** `LocalWorkload.workload`, null until it is known: the endpoint is held. */
  readonly workload: string | null;
  readonly fenced: boolean;
  readonly createdMs: number;
}

/** A sandbox of this host, governed or not. */
export interface LocalWorkload {
  /** Unique in the cluster: `<host>/<engine>/<engine's id>`. */
  readonly workload: string;
  readonly name: string;
  readonly engine: 'docker' | 'netns' | 'tap';
  /** Claimed labels of the workload itself (never the image's); those of its endpoints are added by the core. */
  readonly labels: Labels;
  readonly image: string | null;
  readonly imageDigest: string | null;
  readonly isolationClass: string;
  readonly boundary: 'hardware' | 'emulated' | 'none';
  /** Counts restarts: another number is another generation, whose questions are asked anew. */
  readonly generation: number;
  readonly governance: 'governed' | 'observed' | 'ungoverned';
  /** Why it is not governed, for people; null where it is. */
  readonly ungovernedBecause: string | null;
  readonly startedMs: number | null;
}

export type RegistryChange =
  | { readonly kind: 'endpoint-added' | 'endpoint-changed' | 'endpoint-removed'; readonly endpoint: LocalEndpoint }
  | { readonly kind: 'workload-changed' | 'workload-removed'; readonly workload: LocalWorkload };

/** Refused for a reason that is neither a fault of the kernel nor of the program: wrong or conflicting input, or no room. */
export class RegistryError extends Error {
  readonly code: 'conflict' | 'full' | 'unknown' | 'invalid';
  constructor(code: 'conflict' | 'full' | 'unknown' | 'invalid', message: string) {
    super(message);
    this.name = 'RegistryError';
    this.code = code;
  }
}

/** Everything that is attached on this host. Persisted: nothing is replayed by engines. All methods are idempotent. */
export interface EndpointRegistry {
  /**
   * Allocates a slot, persists, writes the kernel entry as `held` with identity unknown (`observed` in mode observe), registers the
   * addresses, attaches the programs, and returns when all of it was read back. Only then may the link come up. The same spec again
   * gives the same endpoint; the same id with another interface replaces it. Throws RegistryError or KernelError, and leaves nothing.
   */
  addEndpoint(spec: EndpointSpec): Promise<LocalEndpoint>;
  /** Takes the endpoint out of the kernel (entry, addresses, connections, attachment) and forgets it. Unknown ids are ignored. */
  removeEndpoint(endpoint: string): Promise<void>;
  /** Says whose endpoint it is; stores the workload as `setWorkload` does. Throws RegistryError 'unknown' for an unknown endpoint. */
  bindWorkload(endpoint: string, workload: LocalWorkload): void;
  /** Adds or changes a workload; also those without any endpoint of ours (ungoverned). */
  setWorkload(workload: LocalWorkload): void;
  /** Forgets it; endpoints that were bound to it are held again. */
  removeWorkload(workload: string): void;
  setMode(endpoint: string, mode: EndpointMode): void;
  /** Drops (and counts) every packet of the workload, until taken back. */
  setFenced(workload: string, fenced: boolean): void;
  /** Addresses that belong to this machine beside those of its interfaces (gateways), by who says so. Replaces the owner's former set. */
  setHostAddresses(owner: string, addresses: readonly string[]): void;
  /** Every port of the host that is a workload's by the host's NAT. */
  setPublished(ports: readonly PublishedAt[]): void;

  endpoint(endpoint: string): LocalEndpoint | undefined;
  endpoints(): readonly LocalEndpoint[];
  workload(workload: string): LocalWorkload | undefined;
  workloads(): readonly LocalWorkload[];
  /** Called after the change was persisted, in the same turn. Returns the unsubscription. */
  onChange(listener: (change: RegistryChange) => void): () => void;
}

/** A workload of the cluster as the manager told it (this host's included). */
export interface KnownWorkload {
  readonly workload: string;
  readonly name: string;
  readonly host: string;
  readonly identity: number;
  readonly generation: number;
  readonly labels: Labels;
  readonly addresses: readonly string[];
}

/** Who is who in the cluster: for names (resolver) and for attribution. */
export interface Directory {
  byName(name: string): readonly KnownWorkload[];
  byAddress(address: string): KnownWorkload | undefined;
  byWorkload(workload: string): KnownWorkload | undefined;
}

/** What the core gives to an attachment. */
export interface AttachContext {
  readonly host: string;
  readonly kernel: Kernel;
  readonly state: AgentState;
  readonly registry: EndpointRegistry;
  readonly directory: Directory;
  readonly log: Logger;
  readonly nowMs: () => number;
  /** Reports or updates a difference; journalled and sent to the manager. The same id again updates it. */
  reportDivergence(record: DivergenceRecord): void;
  /** Flow records as they are journalled (new, denied, closed). Returns the unsubscription. */
  onFlow(listener: (flow: FlowRecord) => void): () => void;
  /** What the policy in force says of a connection that the agent makes or answers for a workload (the resolver). */
  allows(question: {
    readonly workload: string;
    readonly address: string;
    readonly protocol: 'tcp' | 'udp';
    readonly port: number;
  }): boolean;
  /** Takes what an answer to its own question teaches a workload; to be called before the workload gets the answer. */
  learn(workload: string, asked: string, message: Uint8Array): void;
}

/** One kind of attachment at work (Docker; namespaces and taps), as the core sees it. */
export interface Attachment extends AsyncDisposable {
  /** Commands of the control socket, by name (`attach`, `detach`, …). The argument is untrusted JSON. Errors become the answer. */
  readonly commands: ReadonlyMap<string, (argument: unknown) => Promise<unknown>>;
  /** Compares with the engine at once: after a start, on `bulkhead resync`, and when the link to the manager is new. */
  resync(): Promise<void>;
  /** The manager's `adopt`. Returns false where the workload is not this attachment's. */
  adopt(workload: string, mode: 'observe' | 'enforce' | 'release'): Promise<boolean>;
}

export type AttachmentFactory = (context: AttachContext) => Promise<Attachment>;
