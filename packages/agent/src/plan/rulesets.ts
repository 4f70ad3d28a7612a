/** Which ruleset each endpoint has: kept where the rows in force can stay, else a fresh number with all rows. */
import { reservedIdentity } from '@bulkhead/policy';
import { directions, fit } from './contents.ts';
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
    for (const entry of actual.endpoints.values()) this.#used.add(entry.ruleset);
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
  /** Rows of kept rulesets for peers that are gone afterwards. */
  readonly stale: readonly Operation[];
  /** Rulesets whose rows are exactly a content's once the plan is applied. */
  readonly basis: ReadonlyMap<number, RulesetContent>;
  readonly kept: ReadonlySet<number>;
}

/** Endpoints of one identity share a ruleset: their content is the same object. Rows of refused peers are left out everywhere. */
export function assignRulesets(
  actual: ActualKernel,
  desired: DesiredKernel,
  numbers: RulesetNumbers,
  refusedPeers: ReadonlySet<number>,
): Assignment {
  const [peersBefore, peersAfter] = [peersIn(actual), peersIn(desired)];
  const isFresh = (peer: number): boolean => !peersBefore.has(peer);
  const isVanishing = (peer: number): boolean => !peersAfter.has(peer);
  const users = usersOf(actual);
  const bySlot = new Map<number, number>();
  const prepare: Operation[] = [];
  const stale: Operation[] = [];
  const basis = new Map<number, RulesetContent>();
  const kept = new Set<number>();

  for (const [content, slots] of slotsByContent(desired)) {
    const group = new Set(slots);
    let chosen: number | undefined;
    let isExact = refusedPeers.size === 0;
    for (const candidate of candidatesOf(actual, slots)) {
      const found = fit(actual.rulesets.get(candidate)!, content, { isFresh, isVanishing, refused: refusedPeers });
      if (found.kind === 'different') continue;
      const isShared = (users.get(candidate) ?? []).some((slot) => !group.has(slot));
      if (isShared && found.add.length + found.stale.length > 0) continue;
      chosen = candidate;
      isExact = found.isExact;
      if (found.add.length > 0) {
        const peers = new Set(found.add.map((row) => row.peer));
        prepare.push({ kind: 'set-rows', ruleset: candidate, rows: found.add, purpose: { kind: 'peers', peers } });
      }
      if (found.stale.length > 0) stale.push({ kind: 'remove-rows', ruleset: candidate, rows: found.stale });
      break;
    }
    if (chosen === undefined) {
      chosen = numbers.take();
      prepare.push({
        kind: 'set-rows',
        ruleset: chosen,
        rows: rowsOf(content, refusedPeers),
        purpose: { kind: 'content', content },
      });
    }
    kept.add(chosen);
    if (isExact) basis.set(chosen, content);
    for (const slot of slots) bySlot.set(slot, chosen);
  }
  return { bySlot, prepare, stale, basis, kept };
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
  for (const [slot, { content, state }] of desired.endpoints) {
    if (content === null || (state !== 'governed' && state !== 'observed')) continue;
    const group = groups.get(content);
    if (group === undefined) groups.set(content, [slot]);
    else group.push(slot);
  }
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
  for (const [slot, { ruleset }] of actual.endpoints) {
    const slots = users.get(ruleset);
    if (slots === undefined) users.set(ruleset, [slot]);
    else slots.push(slot);
  }
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
  for (const { identity } of state.endpoints.values()) peers.add(identity);
  for (const entry of state.addresses.values()) if (entry.kind === 'remote') peers.add(entry.identity);
  for (const peer of state.cidrs.values()) peers.add(peer);
  return peers;
}
