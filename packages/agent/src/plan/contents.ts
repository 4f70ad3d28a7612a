/** Comparing and combining rulesets: which rows must change, and what may be in force while several ends of a connection change. */
import type { KernelDirection } from '@bulkhead/kernel';
import { reservedIdentity } from '@bulkhead/policy';
import type { ActualRuleset, RowTarget, RulesetContent } from './model.ts';
import type { KernelTable, TableStore } from './tables.ts';

export const directions = ['egress', 'ingress'] as const satisfies readonly KernelDirection[];

/** An address that is the peer `from` before and `to` after. */
export interface PeerMove {
  readonly from: number;
  readonly to: number;
}

export interface ContentContext {
  readonly store: TableStore;
  /** What a missing ruleset or an unknown peer gives. */
  readonly denial: KernelTable;
}

/** The table in force towards one peer. Nothing is allowed to or from a workload whose labels are unknown, whatever rows say. */
export function lookup(
  context: ContentContext,
  content: RulesetContent | ActualRuleset,
  direction: KernelDirection,
  peer: number,
): KernelTable {
  if (peer === reservedIdentity.unknown) return context.denial;
  const rows = content[direction];
  return rows.get(peer) ?? rows.get(reservedIdentity.any) ?? context.denial;
}

/** The ruleset can go on being used: `add` goes in place and `remove` out before anything resolves to their peers, `stale` out afterwards. */
export interface Fitting {
  readonly kind: 'fits';
  readonly add: readonly RowTarget[];
  readonly remove: readonly Omit<RowTarget, 'table'>[];
  readonly stale: readonly Omit<RowTarget, 'table'>[];
  /** True when the rows are the content's afterwards, also for peers that do not exist. */
  readonly isExact: boolean;
  /** What stays for peers that are yet to vanish allows more than the content does: not for endpoints that come to this ruleset. */
  readonly isWider: boolean;
}
export type Fit = { readonly kind: 'different' } | Fitting;

export interface PeerChanges {
  /** Nothing resolves to the peer before the plan. */
  isFresh(peer: number): boolean;
  /** Nothing resolves to the peer after the plan. */
  isVanishing(peer: number): boolean;
  /** Its rows are not written. */
  readonly refused: ReadonlySet<number>;
}

/**
 * Whether rows in force can become `content` in place. Rows may be added in place only where no packet can tell (fresh peers, or the
 * row says what every other peer's row says); what differs for vanishing peers is taken out once they are gone.
 */
export function fit(
  { store }: ContentContext,
  actual: ActualRuleset,
  content: RulesetContent,
  peers: PeerChanges,
): Fit {
  if (actual.basis === content) return { kind: 'fits', add: [], remove: [], stale: [], isExact: true, isWider: false };
  const add: RowTarget[] = [];
  const remove: Omit<RowTarget, 'table'>[] = [];
  const stale: Omit<RowTarget, 'table'>[] = [];
  let [isExact, isWider] = [true, false];
  for (const direction of directions) {
    const [have, want] = [actual[direction], content[direction]];
    const others = want.get(reservedIdentity.any);
    if (others === undefined || have.get(reservedIdentity.any) !== others) return { kind: 'different' };
    for (const [peer, table] of want) {
      const found = have.get(peer);
      if (found === table) continue;
      if (peers.refused.has(peer)) isExact = false;
      else if (peers.isFresh(peer) || (found === undefined && table === others)) add.push({ direction, peer, table });
      else if (peers.isVanishing(peer)) {
        isExact = false;
        isWider ||= !store.leq(found ?? others, table);
        if (found !== undefined) stale.push({ direction, peer });
      } else return { kind: 'different' };
    }
    for (const [peer, table] of have) {
      if (want.has(peer)) continue;
      if (peers.isVanishing(peer)) {
        isWider ||= !store.leq(table, others);
        stale.push({ direction, peer });
      } else if (peers.isFresh(peer) || table === others) remove.push({ direction, peer });
      else return { kind: 'different' };
    }
  }
  return { kind: 'fits', add, remove, stale, isExact, isWider };
}

/** What is in force at an end while others move: its old rules, its new ones, or the ones that allow only what both do. */
export type Between =
  | { readonly kind: 'old' }
  | { readonly kind: 'new' }
  | { readonly kind: 'meet'; readonly content: RulesetContent };

/**
 * Chosen so that at every end: held(peer) allows no more than old(peer) before the peer moves, and no more than what it becomes under
 * the new rules, before and after. Then a connection between ends of which none has moved is bounded by the old whole, and any other by
 * the new whole: no mixture allows what neither does.
 */
export function between(
  context: ContentContext,
  old: RulesetContent | ActualRuleset,
  next: RulesetContent,
  moves: readonly PeerMove[],
): Between {
  const { store } = context;
  const differing = {
    egress: differingPeers(context, old, next, 'egress'),
    ingress: differingPeers(context, old, next, 'ingress'),
  };
  const below = (low: RulesetContent | ActualRuleset, high: RulesetContent | ActualRuleset): boolean =>
    directions.every((direction) =>
      differing[direction].every((peer) =>
        store.leq(lookup(context, low, direction, peer), lookup(context, high, direction, peer)),
      ),
    );
  const holdsForMoves = (held: RulesetContent | ActualRuleset): boolean =>
    directions.every((direction) =>
      moves.every(({ from, to }) => {
        const before = lookup(context, old, direction, from);
        const after = lookup(context, next, direction, to);
        const [atFrom, atTo] = [lookup(context, held, direction, from), lookup(context, held, direction, to)];
        return store.leq(atFrom, before) && store.leq(atFrom, after) && store.leq(atTo, after);
      }),
    );
  if (below(old, next) && holdsForMoves(old)) return { kind: 'old' };
  if (below(next, old) && holdsForMoves(next)) return { kind: 'new' };
  const met = (direction: KernelDirection): ReadonlyMap<number, KernelTable> =>
    meetRows(context, { direction, old, next, moves, differing: differing[direction] });
  return { kind: 'meet', content: { egress: met('egress'), ingress: met('ingress') } };
}

interface Meeting {
  readonly direction: KernelDirection;
  readonly old: RulesetContent | ActualRuleset;
  readonly next: RulesetContent;
  readonly moves: readonly PeerMove[];
  readonly differing: readonly number[];
}

function meetRows(context: ContentContext, meeting: Meeting): ReadonlyMap<number, KernelTable> {
  const { direction, old, next, moves, differing } = meeting;
  const narrowed = new Map<number, KernelTable>();
  const narrow = (peer: number, bound: KernelTable): void =>
    void narrowed.set(peer, context.store.meet(narrowed.get(peer) ?? bound, bound));
  const narrowToBoth = (peer: number): void => {
    narrow(peer, lookup(context, old, direction, peer));
    narrow(peer, lookup(context, next, direction, peer));
  };
  for (const peer of differing) narrowToBoth(peer);
  for (const { from, to } of moves) {
    narrowToBoth(from);
    narrowToBoth(to);
    narrow(from, lookup(context, next, direction, to));
  }
  const rows = new Map(next[direction]);
  // Whoever has a row under either keeps one, whatever becomes of the row of all others.
  old[direction].forEach((table, peer) => {
    if (!rows.has(peer)) rows.set(peer, table);
  });
  for (const [peer, table] of narrowed) {
    // What is neither the old word nor the new one about a peer is nobody's last word.
    const isKnown = [old, next].some((content) => lookup(context, content, direction, peer) === table);
    rows.set(peer, isKnown ? table : context.store.withoutResets(table));
  }
  return rows;
}

/** Peers of whom the two say something else; what is not among them is as strict under both. */
function differingPeers(
  context: ContentContext,
  a: RulesetContent | ActualRuleset,
  b: RulesetContent | ActualRuleset,
  direction: KernelDirection,
): readonly number[] {
  const peers: number[] = [];
  const compare = (peer: number): void => {
    if (lookup(context, a, direction, peer) !== lookup(context, b, direction, peer)) peers.push(peer);
  };
  const [rows, others] = [a[direction], b[direction]];
  compare(reservedIdentity.any);
  rows.forEach((_, peer) => {
    if (peer !== reservedIdentity.any) compare(peer);
  });
  others.forEach((_, peer) => {
    if (peer !== reservedIdentity.any && !rows.has(peer)) compare(peer);
  });
  return peers;
}
