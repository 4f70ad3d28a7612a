import type { Direction } from '../model.ts';
import type { OwnEnd } from './own-end.ts';
import type { Group, PeerEntry } from './peer.ts';
import type { RuleEntry } from './rule-entry.ts';
import type { Seen } from './seen.ts';

/** One end of rules: the union of its groups, or everybody. Shared by all rules that name the same end. */
export interface PeerSet {
  readonly key: string;
  readonly everybody: boolean;
  readonly groups: readonly Group[];
  /** Whether addresses that were learnt by name may be in it. */
  readonly hasNames: boolean;
  /** The rules for which this is the subject's end; null where there are none. */
  readonly own: Record<Direction, OwnEnd | null>;
  /** The rules for which this is the far end. */
  readonly seenBy: Seen;
  /** How many own ends with sides look at it: its networks are peers while there is one. */
  watchers: number;
  /** Ends of rules that are this set. */
  uses: number;
}

export function peerSetHas(set: PeerSet, entry: PeerEntry): boolean {
  return set.everybody || set.groups.some((group) => group.members.has(entry));
}

/** The end at which a subject stands, and the other one. */
export function endsOf(rule: RuleEntry, direction: Direction): { own: PeerSet; far: PeerSet } {
  return direction === 'egress' ? { own: rule.from, far: rule.to } : { own: rule.to, far: rule.from };
}

/** Each member once, though it be in several groups of the set. */
export function membersOf(set: PeerSet): Iterable<PeerEntry> {
  const [first, ...others] = set.groups;
  if (first === undefined) return [];
  if (others.length === 0) return first.members;
  const members = new Set(first.members);
  for (const group of others) for (const member of group.members) members.add(member);
  return members;
}
