/**
 * Rulesets whose rows change where they stand. A packet reads one row of each end, in one step, so what holds for flips of whole rulesets
 * holds row by row: every row is first narrowed to what old and new both allow, at all ends, and widened only then. Endpoints are judged
 * again after each of the two, since a connection is taken for judged for as long as the words of its ends are the same.
 *
 * Only rows of single peers change so: a packet that finds no row of its peer looks for the row of all others in a second step.
 */
import { reservedIdentity } from '@bulkhead/policy';
import { isOpen } from './closed.ts';
import { between, directions, type ContentContext, type PeerMove } from './contents.ts';
import type { ActualKernel, ActualRuleset, DesiredKernel, Operation, RowTarget, RulesetContent } from './model.ts';

export interface Amendment {
  readonly ruleset: number;
  readonly old: ActualRuleset;
  readonly next: RulesetContent;
  /** Endpoints that have the ruleset before and after. */
  readonly slots: readonly number[];
}

/** Phases, in this order: those of `narrow` before anything moves, those of `widen` when all has moved. */
export interface AmendmentStages {
  readonly narrow: readonly (readonly Operation[])[];
  readonly widen: readonly (readonly Operation[])[];
}

/** The endpoints of a group that have the ruleset; null where one of them changes more than rows, or has another ruleset to leave. */
export function slotsKeeping(
  ruleset: number,
  group: readonly number[],
  actual: ActualKernel,
  desired: DesiredKernel,
): readonly number[] | null {
  const keeping: number[] = [];
  for (const slot of group) {
    const [before, target] = [actual.endpoints.get(slot), desired.endpoints.get(slot)!];
    // Closed or unknown to the kernel: admitted when everything else is done.
    if (before === undefined || !isOpen(before.state, before.ruleset)) continue;
    const isSame = before.ruleset === ruleset && before.state === target.state && before.identity === target.identity;
    if (!isSame) return null;
    keeping.push(slot);
  }
  return keeping;
}

/** Whether rows can become the content's one by one. */
export function isAmendable(old: ActualRuleset, next: RulesetContent): boolean {
  return directions.every((direction) => {
    const others = old[direction].get(reservedIdentity.any);
    return others !== undefined && others === next[direction].get(reservedIdentity.any);
  });
}

export function amendmentStages(
  context: ContentContext,
  amendments: readonly Amendment[],
  moves: readonly PeerMove[],
): AmendmentStages {
  const narrow: Operation[] = [];
  const widen: Operation[] = [];
  const narrowed: number[] = [];
  const widened: number[] = [];
  for (const { ruleset, old, next, slots } of amendments) {
    const chosen = between(context, old, next, moves);
    const held = chosen.kind === 'old' ? old : chosen.kind === 'new' ? next : chosen.content;
    if (held !== old) {
      narrow.push(...rowChanges(ruleset, old, held, next));
      narrowed.push(...slots);
    }
    if (held !== next) {
      widen.push(...rowChanges(ruleset, held, next, next));
      widened.push(...slots);
    }
  }
  return { narrow: [narrow, judging(narrowed)], widen: [widen, judging(widened)] };
}

function judging(slots: readonly number[]): readonly Operation[] {
  return slots.length === 0 ? [] : [{ kind: 'judge-endpoints', slots }];
}

function rowChanges(
  ruleset: number,
  from: RulesetContent | ActualRuleset,
  to: RulesetContent | ActualRuleset,
  content: RulesetContent,
): readonly Operation[] {
  const rows: RowTarget[] = [];
  const removed: Omit<RowTarget, 'table'>[] = [];
  for (const direction of directions) {
    const [have, want] = [from[direction], to[direction]];
    want.forEach((table, peer) => {
      if (have.get(peer) !== table) rows.push({ direction, peer, table });
    });
    have.forEach((_, peer) => {
      if (!want.has(peer)) removed.push({ direction, peer });
    });
  }
  const operations: Operation[] = [];
  if (rows.length > 0) operations.push({ kind: 'set-rows', ruleset, rows, purpose: { kind: 'amendment', content } });
  if (removed.length > 0) operations.push({ kind: 'remove-rows', ruleset, rows: removed });
  return operations;
}
