/** Which ruleset each endpoint has: kept where the rows in force can stay or be amended, else a fresh number with all rows. */
import { reservedIdentity } from '@bulkhead/policy';
import { isAmendable, slotsKeeping, type Amendment } from './amend.ts';
import { directions, fit, type ContentContext, type Fitting, type PeerChanges } from './contents.ts';
import {
  closedRuleset,
  rulesetFirst,
  rulesetMax,
  type ActualKernel,
  type DesiredKernel,
  type Operation,
  type RowTarget,
  type RulesetContent,
} from './model.ts';

/** Hands out numbers that neither rows nor endpoints use; wraps at 24 bits. */
export class RulesetNumbers {
  #next: number;
  readonly #used: Set<number>;

  constructor(next: number, actual: ActualKernel) {
    this.#next = next;
    this.#used = new Set(actual.rulesets.keys());
    actual.endpoints.forEach(({ ruleset }) => this.#used.add(ruleset));
  }

  get next(): number {
    return this.#next;
  }

  take(): number {
    while (this.#used.has(this.#next) || this.#next < rulesetFirst || this.#next > rulesetMax) {
      this.#next = this.#next >= rulesetMax ? rulesetFirst : this.#next + 1;
    }
    this.#used.add(this.#next);
    return this.#next++;
  }
}

export interface Assignment {
  readonly bySlot: ReadonlyMap<number, number>;
  readonly prepare: readonly Operation[];
  readonly amendments: readonly Amendment[];
  /** Rows of kept rulesets for peers that are gone afterwards. */
  readonly stale: readonly Operation[];
  /** Rulesets whose rows are exactly a content's once the plan is applied. */
  readonly basis: ReadonlyMap<number, RulesetContent>;
  readonly kept: ReadonlySet<number>;
}

/** What the plan may do with rulesets in force. */
export interface AssignmentOptions {
  readonly context: ContentContext;
  readonly refusedPeers: ReadonlySet<number>;
  /** Their rows may change where they stand. */
  readonly mayAmend: boolean;
}

/** Endpoints of one identity share a ruleset: their content is the same object. Rows of refused peers are left out everywhere. */
export function assignRulesets(
  actual: ActualKernel,
  desired: DesiredKernel,
  numbers: RulesetNumbers,
  { context, refusedPeers, mayAmend }: AssignmentOptions,
): Assignment {
  const scene = sceneOf(context, actual, desired, refusedPeers);
  const bySlot = new Map<number, number>();
  const prepare: Operation[] = [];
  const amendments: Amendment[] = [];
  const stale: Operation[] = [];
  const basis = new Map<number, RulesetContent>();
  const kept = new Set<number>();

  for (const [content, slots] of slotsByContent(desired)) {
    const found = fitting(scene, content, slots);
    const amendment = found === null && mayAmend ? amendmentOf(scene, content, slots) : null;
    const chosen = found?.ruleset ?? amendment?.ruleset ?? numbers.take();
    if (found !== null) {
      const { add, remove } = found;
      const peers = new Set(add.map((row) => row.peer));
      if (add.length > 0)
        prepare.push({ kind: 'set-rows', ruleset: chosen, rows: add, purpose: { kind: 'peers', peers } });
      if (remove.length > 0) prepare.push({ kind: 'remove-rows', ruleset: chosen, rows: remove });
      if (found.stale.length > 0) stale.push({ kind: 'remove-rows', ruleset: chosen, rows: found.stale });
    } else if (amendment !== null) {
      amendments.push(amendment);
    } else {
      const rows = rowsOf(content, refusedPeers);
      prepare.push({ kind: 'set-rows', ruleset: chosen, rows, purpose: { kind: 'content', content } });
    }
    kept.add(chosen);
    if (found?.isExact ?? refusedPeers.size === 0) basis.set(chosen, content);
    for (const slot of slots) bySlot.set(slot, chosen);
  }
  return { bySlot, prepare, amendments, stale, basis, kept };
}

interface Scene {
  readonly context: ContentContext;
  readonly actual: ActualKernel;
  readonly desired: DesiredKernel;
  readonly peers: PeerChanges;
  readonly users: ReadonlyMap<number, readonly number[]>;
}

function sceneOf(
  context: ContentContext,
  actual: ActualKernel,
  desired: DesiredKernel,
  refused: ReadonlySet<number>,
): Scene {
  const [before, after] = [peersIn(actual), peersIn(desired)];
  const peers = {
    isFresh: (peer: number): boolean => !before.has(peer),
    isVanishing: (peer: number): boolean => !after.has(peer),
    refused,
  };
  return { context, actual, desired, peers, users: usersOf(actual) };
}

/** A ruleset of the group's endpoints that can stay, with what has to be added before and may be taken out afterwards. */
function fitting(
  { context, actual, desired, peers, users }: Scene,
  content: RulesetContent,
  slots: readonly number[],
): (Fitting & { readonly ruleset: number }) | null {
  for (const ruleset of candidatesOf(actual, slots)) {
    const found = fit(context, actual.rulesets.get(ruleset)!, content, peers);
    if (found.kind === 'different') continue;
    if (found.isWider && slotsKeeping(ruleset, slots, actual, desired) === null) continue;
    if (found.add.length + found.remove.length + found.stale.length > 0 && isShared(users, ruleset, slots)) continue;
    return { ...found, ruleset };
  }
  return null;
}

/** The one ruleset that all endpoints of the group have, and nobody else, where its rows can change in place. */
function amendmentOf(
  { actual, desired, users }: Scene,
  next: RulesetContent,
  group: readonly number[],
): Amendment | null {
  for (const ruleset of candidatesOf(actual, group)) {
    const old = actual.rulesets.get(ruleset)!;
    if (!isAmendable(old, next) || isShared(users, ruleset, group)) continue;
    const slots = slotsKeeping(ruleset, group, actual, desired);
    if (slots !== null) return { ruleset, old, next, slots };
  }
  return null;
}

function isShared(users: ReadonlyMap<number, readonly number[]>, ruleset: number, group: readonly number[]): boolean {
  const own = new Set(group);
  return (users.get(ruleset) ?? []).some((slot) => !own.has(slot));
}

/** Rulesets that nobody has after the plan. A packet in flight must not find the row of all others where a stricter one was. */
export function garbageOf(actual: ActualKernel, assignment: Assignment): readonly Operation[] {
  const others: Operation[] = [];
  const rest: Operation[] = [];
  for (const [ruleset, content] of actual.rulesets) {
    if (ruleset === closedRuleset || assignment.kept.has(ruleset)) continue;
    const rows = directions.flatMap((direction) => [...content[direction].keys()].map((peer) => ({ direction, peer })));
    others.push({ kind: 'remove-rows', ruleset, rows: rows.filter(isOthers) });
    rest.push({ kind: 'remove-rows', ruleset, rows: rows.filter((row) => !isOthers(row)) });
  }
  return [...others, ...rest];
}

/** The row of every peer without one. */
export function isOthers(row: { readonly peer: number }): boolean {
  return row.peer === reservedIdentity.any;
}

export function rowsOf(content: RulesetContent, without: ReadonlySet<number>): readonly RowTarget[] {
  return directions.flatMap((direction) =>
    [...content[direction]].flatMap(([peer, table]) => (without.has(peer) ? [] : [{ direction, peer, table }])),
  );
}

function slotsByContent(desired: DesiredKernel): ReadonlyMap<RulesetContent, readonly number[]> {
  const groups = new Map<RulesetContent, number[]>();
  desired.endpoints.forEach(({ content, state }, slot) => {
    if (content === null || (state !== 'governed' && state !== 'observed')) return;
    const group = groups.get(content);
    if (group === undefined) groups.set(content, [slot]);
    else group.push(slot);
  });
  return groups;
}

/** Rulesets that endpoints of the group have now, in a stable order. */
function candidatesOf(actual: ActualKernel, slots: readonly number[]): ReadonlySet<number> {
  const candidates = new Set<number>();
  for (const slot of slots) {
    const ruleset = actual.endpoints.get(slot)?.ruleset;
    if (ruleset !== undefined && ruleset !== closedRuleset && actual.rulesets.has(ruleset)) candidates.add(ruleset);
  }
  return candidates;
}

function usersOf(actual: ActualKernel): ReadonlyMap<number, readonly number[]> {
  const users = new Map<number, number[]>();
  actual.endpoints.forEach(({ ruleset }, slot) => {
    const slots = users.get(ruleset);
    if (slots === undefined) users.set(ruleset, [slot]);
    else slots.push(slot);
  });
  return users;
}

/** Every peer that some address can resolve to. */
function peersIn(state: ActualKernel | DesiredKernel): ReadonlySet<number> {
  const peers = new Set<number>([
    reservedIdentity.any,
    reservedIdentity.host,
    reservedIdentity.world,
    reservedIdentity.unknown,
  ]);
  state.endpoints.forEach(({ identity }) => peers.add(identity));
  state.addresses.forEach((entry) => void (entry.kind === 'remote' && peers.add(entry.identity)));
  state.cidrs.forEach((peer) => peers.add(peer));
  state.learnt.forEach(({ peer }) => peers.add(peer));
  return peers;
}
