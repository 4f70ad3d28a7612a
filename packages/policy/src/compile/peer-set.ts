import type { Direction } from '../model.ts';
import type { ResolvedRule } from '../resolve/rule.ts';
import type { Group, PeerEntry } from './peer.ts';
import type { NumberedVerdict } from './port-table.ts';
import type { Side } from './side.ts';

/** One end of rules: the union of its groups, or everybody. Shared by all rules that name the same end. */
export interface PeerSet {
  readonly key: string;
  readonly everybody: boolean;
  readonly groups: readonly Group[];
  /** Rules for which this is the subject's end. */
  readonly rules: Readonly<Record<Direction, Set<RuleEntry>>>;
  /** Sides with a rule for which this is the far end. */
  readonly users: Set<Side>;
  /** Ends of rules that are this set. */
  uses: number;
}

export interface RuleEntry {
  readonly number: number;
  readonly rule: ResolvedRule;
  readonly verdict: NumberedVerdict | null;
  readonly from: PeerSet;
  readonly to: PeerSet;
}

export function peerSetHas(set: PeerSet, entry: PeerEntry): boolean {
  return set.everybody || set.groups.some((group) => group.members.has(entry));
}

/** The end at which a subject stands, and the other one. */
export function endsOf(rule: RuleEntry, direction: Direction): { own: PeerSet; far: PeerSet } {
  return direction === 'egress' ? { own: rule.from, far: rule.to } : { own: rule.to, far: rule.from };
}
