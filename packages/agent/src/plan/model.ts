/** Input and output of the planner: desired and actual kernel state as plain data, and the operations that lead from one to the other. */
import type {
  AddressEntry,
  EndpointEntry,
  EndpointState,
  HostPort,
  KernelDirection,
  LearntEntry,
  LearntKey,
} from '@bulkhead/kernel';
import type { KernelTable } from './tables.ts';

/** Tables by peer; key 0 is every peer without a row of its own. Immutable: another content is another object. */
export interface RulesetContent {
  readonly egress: ReadonlyMap<number, KernelTable>;
  readonly ingress: ReadonlyMap<number, KernelTable>;
}

/** The ruleset that denies everything, always present: what an endpoint has whose own rules are unknown or do not fit. */
export const closedRuleset = 1;
export const rulesetFirst = 16;
export const rulesetMax = 2 ** 24 - 1;
export const epochModulus = 2 ** 16;

/** What of an endpoint does not depend on policy. */
export type EndpointStatics = Omit<EndpointEntry, 'state' | 'identity' | 'ruleset' | 'epoch'>;

export interface EndpointTarget {
  readonly statics: EndpointStatics;
  readonly state: EndpointState;
  readonly identity: number;
  /** Where the slot's epochs start, so that connections of the slot's former endpoint never match: 0 … 65535. */
  readonly firstEpoch: number;
  /** null: closed. */
  readonly content: RulesetContent | null;
}

export interface DesiredKernel {
  readonly endpoints: ReadonlyMap<number, EndpointTarget>;
  readonly addresses: ReadonlyMap<string, AddressEntry>;
  readonly cidrs: ReadonlyMap<string, number>;
  /** By `learntKey`. Only addresses that nobody of ours has. */
  readonly learnt: ReadonlyMap<string, LearntEntry>;
  /** Exceptions of the host's own end. */
  readonly hostPorts: readonly HostPort[];
  readonly closed: RulesetContent;
}

export interface ActualRuleset {
  readonly egress: ReadonlyMap<number, KernelTable>;
  readonly ingress: ReadonlyMap<number, KernelTable>;
  /** The content that these rows were last found equal to, for peers that exist: spares the comparison. */
  readonly basis: RulesetContent | null;
}

export interface ActualKernel {
  readonly endpoints: ReadonlyMap<number, EndpointEntry>;
  readonly addresses: ReadonlyMap<string, AddressEntry>;
  readonly cidrs: ReadonlyMap<string, number>;
  readonly learnt: ReadonlyMap<string, LearntEntry>;
  readonly hostPorts: readonly HostPort[];
  readonly rulesets: ReadonlyMap<number, ActualRuleset>;
  /** Interfaces that have the workload programs. */
  readonly attached: ReadonlySet<number>;
}

export interface RowTarget {
  readonly direction: KernelDirection;
  readonly peer: number;
  readonly table: KernelTable;
}

export interface CidrEntry {
  readonly cidr: string;
  readonly peer: number;
}

export type Operation =
  | { readonly kind: 'set-endpoint'; readonly entry: EndpointEntry }
  | { readonly kind: 'remove-endpoint'; readonly slot: number }
  | { readonly kind: 'attach'; readonly slot: number; readonly ifindex: number }
  | { readonly kind: 'set-address'; readonly address: string; readonly entry: AddressEntry }
  | { readonly kind: 'remove-address'; readonly address: string }
  /** These and no others. */
  | { readonly kind: 'set-host-ports'; readonly entries: readonly HostPort[] }
  | {
      readonly kind: 'set-rows';
      readonly ruleset: number;
      readonly rows: readonly RowTarget[];
      readonly purpose: RowsPurpose;
    }
  | {
      readonly kind: 'remove-rows';
      readonly ruleset: number;
      readonly rows: readonly { readonly direction: KernelDirection; readonly peer: number }[];
    }
  /** In this order. */
  | { readonly kind: 'set-cidrs'; readonly entries: readonly CidrEntry[] }
  | { readonly kind: 'remove-cidrs'; readonly cidrs: readonly string[] }
  | { readonly kind: 'set-learnt'; readonly entries: readonly LearntEntry[] }
  | { readonly kind: 'remove-learnt'; readonly keys: readonly LearntKey[] }
  /** Rows of these endpoints changed where they stand: their live connections are judged again. */
  | { readonly kind: 'judge-endpoints'; readonly slots: readonly number[] }
  /**
   * The peers of these addresses, of addresses in these networks, and of what single endpoints learnt, changed: live connections with
   * them are judged again.
   */
  | {
      readonly kind: 'judge-again';
      readonly addresses: readonly string[];
      readonly networks: readonly string[];
      readonly learnt: readonly LearntKey[];
    };

export function learntKey({ slot, address }: LearntKey): string {
  return `${slot} ${address}`;
}

/** What cannot be had when the rows do not fit. */
export type RowsPurpose =
  | { readonly kind: 'closed' }
  /** A whole ruleset for the endpoints of this content. */
  | { readonly kind: 'content'; readonly content: RulesetContent }
  /** Rows of a ruleset in force, on their way to this content. */
  | { readonly kind: 'amendment'; readonly content: RulesetContent }
  /** The ruleset between two others. */
  | { readonly kind: 'transition' }
  /** Rows for peers that nothing resolves to yet, into a ruleset in force. */
  | { readonly kind: 'peers'; readonly peers: ReadonlySet<number> };

/** Operations of one phase do not depend on each other; a phase starts only when the one before succeeded whole. */
export interface Plan {
  readonly phases: readonly (readonly Operation[])[];
  /** May run at any time later, in this order. */
  readonly garbage: readonly Operation[];
  readonly nextRuleset: number;
  /** Which content each kept or new ruleset has once the plan is applied. */
  readonly basis: ReadonlyMap<number, RulesetContent>;
}

/** Items that failed and are not tried in this plan: denied instead. */
export interface Refusals {
  /** Endpoints whose interface or entry cannot be had: taken out. */
  readonly slots: ReadonlySet<number>;
  readonly contents: ReadonlySet<RulesetContent>;
  readonly peers: ReadonlySet<number>;
  readonly addresses: ReadonlySet<string>;
  readonly cidrs: ReadonlySet<string>;
  /** By `learntKey`. */
  readonly learnt: ReadonlySet<string>;
  /** No room for rulesets between two others: endpoints are closed for that moment instead. */
  readonly transitions: boolean;
  /** Rulesets in force could not be changed: they are replaced instead. */
  readonly amendments: boolean;
}

export const noRefusals: Refusals = {
  slots: new Set(),
  contents: new Set(),
  peers: new Set(),
  addresses: new Set(),
  cidrs: new Set(),
  learnt: new Set(),
  transitions: false,
  amendments: false,
};
