/** What the parts of the simulated datapath pass to one another while they judge one packet. */
import type { CounterName, Limits } from '../port.ts';
import type { Packet } from './frame.ts';
import type { Pair, Pinned, TableConnection } from './state.ts';
import type { Judged, Party } from './verdict.ts';

/**
 * Where a packet meets the programs: leaving a workload, on its way into one (`marked`: checked by from_workload before), or coming out
 * of the tunnel from another host, which says whose it is.
 */
export type Arrival =
  | { readonly hook: 'from-workload'; readonly ifindex: number }
  | { readonly hook: 'to-workload'; readonly ifindex: number; readonly marked: boolean; readonly forwarded: boolean }
  | { readonly hook: 'from-overlay'; readonly host: string; readonly identity: number }
  /** Out of the machine and into it; `forwarded`: it came in by another interface, and is not the host's own. */
  | { readonly hook: 'to-uplink'; readonly ifindex: number; readonly forwarded: boolean }
  | { readonly hook: 'from-uplink'; readonly ifindex: number };

/** The endpoint at the hook is the sender. */
export function isSending(arrival: Arrival): boolean {
  return arrival.hook === 'from-workload' || arrival.hook === 'to-uplink';
}

export type Delivery =
  /**
   * To an endpoint of this host (`hostSlot`: to the host itself, judged), or to the host's stack (`slot` 0), which forwards it or, where
   * the host is a subject, drops it.
   */
  | { readonly kind: 'passed'; readonly slot: number }
  /** Through the tunnel to another host, under the sender's identity. */
  | { readonly kind: 'tunnelled'; readonly host: string; readonly identity: number }
  | { readonly kind: 'dropped'; readonly reason: CounterName; readonly rejected: boolean }
  | { readonly kind: 'punted'; readonly id: number };

/** The outside of the datapath: its clock, its bounds, its dice. */
export interface Surroundings {
  readonly pinned: Pinned;
  readonly limits: Limits;
  readonly nowNs: bigint;
  readonly randomId: () => number;
}

export interface Seen {
  readonly packet: Packet;
  readonly bytes: number;
  readonly answers: boolean;
  readonly arrival: Arrival;
  /** Slot of the interface that the packet was seen on. */
  readonly slot: number;
  /** Slots of sender and receiver, as far as they are known by now. */
  slots: Pair<number>;
  /** It was held, and its sender checked then. */
  readonly vouched: boolean;
}

export interface Judgement {
  /** In the connection's order: `ends[0]` opened it. */
  readonly ends: Pair<Party>;
  readonly verdict: Judged;
  /** 0 when the packet goes the originator's way. */
  readonly side: 0 | 1;
  /** The live entry that the packet belongs to. */
  readonly open: TableConnection | null;
}

export function other(side: 0 | 1): 0 | 1 {
  return side === 0 ? 1 : 0;
}

/** The endpoint that a packet is charged to: its sender, or its receiver where outside sent it. */
export function chargedSlot(seen: Seen): number {
  return seen.slots[0] !== 0 ? seen.slots[0] : seen.slots[1];
}

const nsPerSecond = 1_000_000_000n;
/** Time at which the next token is due, or null where the bucket is empty. */
export function takeToken(dueNs: bigint, nowNs: bigint, perSecond: number, burst: number): bigint | null {
  const intervalNs = nsPerSecond / BigInt(perSecond);
  const due = dueNs > nowNs ? dueNs : nowNs;
  return due - nowNs > BigInt(burst) * intervalNs ? null : due + intervalNs;
}
