import type { WallChain, WallChainStep, WallConflict } from './commands.ts';
import type { MarkConflict } from './conflict-graph.ts';
import { type Component, type Gain, lostGain, type Mark, ownGain, tokenFirst } from './contact-graph.ts';
import type { Bearer, Domain } from './domain.ts';
import type { WallState } from './state.ts';
import type { Touch, Transaction } from './transactions.ts';
import type { WallReading } from './wall.ts';

/**
 * The conflicts that there would be if the bearers came together in the domain, those that are there already included: none exactly
 * when the contact may be. At most one more than `conflictsMax`, which says that there are too many to be overridden.
 */
export function conflictsOf(
  state: WallState,
  domain: Domain,
  bearers: readonly Bearer[],
  only: Transaction | null = null,
): WallConflict[] {
  const most = state.limits.conflictsMax + 1;
  const found: WallConflict[] = [];
  const take = (conflict: MarkConflict, transaction: Transaction | null): boolean => {
    found.push(described(state, bearers, conflict, transaction));
    return found.length < most;
  };
  if (domain.scope === 'history') {
    for (const conflict of historyConflicts(domain, bearers)) if (!take(conflict, null)) return found;
    return found;
  }
  for (const [transaction, roles] of transactionsAmong(state, bearers)) {
    if (only !== null && transaction !== only) continue;
    for (const conflict of transactionConflicts(state, domain, transaction, roles, bearers))
      if (!take(conflict, transaction)) return found;
  }
  return found;
}

function* historyConflicts({ conflicts }: Domain, bearers: readonly Bearer[]): Generator<MarkConflict> {
  const [first, second] = bearers;
  if (first === undefined) return;
  if (bearers.length > 2) {
    yield* conflicts.within(new Set(bearers.flatMap(({ marks }) => [...marks.keys()])));
    return;
  }
  yield* conflicts.within(first.marks);
  if (second === undefined || second.marks === first.marks) return;
  yield* conflicts.within(second.marks);
  for (const conflict of conflicts.across(first.marks, second.marks)) {
    const [a, b] = conflict.between;
    // Where one side has both, `within` told it; where each side has one of them twice over, it is told once.
    if (hasBoth(first, a, b) || hasBoth(second, a, b)) continue;
    yield conflict;
  }
}

function hasBoth({ marks }: Bearer, a: Mark, b: Mark): boolean {
  return marks.has(a) && marks.has(b);
}

function transactionsAmong(state: WallState, bearers: readonly Bearer[]): Map<Transaction, Set<string>> {
  const among = new Map<Transaction, Set<string>>();
  for (const { marks } of bearers) {
    for (const mark of marks.keys()) {
      const token = mark < tokenFirst ? undefined : state.transactions.token(mark);
      if (token === undefined) continue;
      const roles = among.get(token.transaction);
      if (roles === undefined) among.set(token.transaction, new Set([token.role]));
      else roles.add(token.role);
    }
  }
  return among;
}

function* transactionConflicts(
  state: WallState,
  domain: Domain,
  transaction: Transaction,
  roles: ReadonlySet<string>,
  bearers: readonly Bearer[],
): Generator<MarkConflict> {
  if (reads(domain, transaction, 'roles-apart')) {
    const marks = new Set([...roles].map(state.names.number));
    yield* ofWall(domain.conflicts.within(marks), transaction.wall);
  }
  if (!reads(domain, transaction, 'never-both')) return;
  const touched = new Set(transaction.touched.keys());
  for (const { marks } of bearers) for (const mark of freshDatasets(marks, transaction)) touched.add(mark);
  yield* ofWall(domain.conflicts.within(touched), transaction.wall);
}

export function reads(domain: Domain, transaction: Transaction, reading: WallReading): boolean {
  return domain.walls.get(transaction.wall)?.readings.includes(reading) === true;
}

function* ofWall(conflicts: Iterable<MarkConflict>, wall: string): Generator<MarkConflict> {
  for (const conflict of conflicts) if (conflict.wall === wall) yield conflict;
}

/** Datasets that somebody in here has been in contact with since the transaction began: what is older is not its concern. */
function* freshDatasets(marks: ReadonlyMap<Mark, number>, { beginStep }: Transaction): Generator<Mark> {
  for (const [mark, stamp] of marks) if (mark < tokenFirst && stamp > beginStep) yield mark;
}

/** Notes what the component's transactions have now been in contact with. */
export function noteTouches(state: WallState, domain: Domain, { marks, members }: Component): void {
  if (domain.scope !== 'transaction') return;
  for (const mark of marks.keys()) {
    const transaction = mark < tokenFirst ? undefined : state.transactions.token(mark)?.transaction;
    if (transaction === undefined || !reads(domain, transaction, 'never-both')) continue;
    for (const dataset of freshDatasets(marks, transaction)) {
      if (transaction.touched.has(dataset)) continue;
      const [member] = members;
      transaction.touched.set(dataset, { subject: member!.name, gain: member!.gains.get(dataset) ?? lostGain });
    }
  }
}

function described(
  state: WallState,
  bearers: readonly Bearer[],
  { wall, between }: MarkConflict,
  transaction: Transaction | null,
): WallConflict {
  const roles = new Map(
    [...(transaction?.tokens ?? [])].map(([role, token]) => [state.names.known(role), token] as const),
  );
  const ends = between
    .map((mark) => {
      const name = state.names.name(mark);
      const held = holder(bearers, mark) ?? holder(bearers, roles.get(mark)) ?? transaction?.touched.get(mark);
      return { name, chain: chainOf(held, name) };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const [a, b] = ends as [(typeof ends)[0], (typeof ends)[0]];
  return {
    wall,
    between: [a.name, b.name],
    transaction: transaction?.id ?? null,
    chains: [a.chain, b.chain],
  };
}

function holder(bearers: readonly Bearer[], mark: Mark | undefined): Touch | undefined {
  if (mark === undefined) return undefined;
  for (const { subject, marks, gains } of bearers)
    if (marks.has(mark)) return { subject, gain: gains.get(mark) ?? lostGain };
  return undefined;
}

function chainOf(held: Touch | undefined, name: string): WallChain {
  return held === undefined
    ? { subject: '', name, steps: [], whole: false }
    : { subject: held.subject, name, ...chainSteps(held.gain) };
}

/** From the newest contact to the origin. */
export function chainSteps(gain: Gain): { readonly steps: readonly WallChainStep[]; readonly whole: boolean } {
  const steps: WallChainStep[] = [];
  let at: Gain | null = gain;
  while (at !== null && at.contact !== null) {
    const { id, medium, from, to, atMs, revision, overrides } = at.contact;
    steps.push({ contact: id, medium, from, to, source: at.from!, atMs, revision, overrides });
    at = at.before;
  }
  return { steps, whole: at === ownGain };
}
