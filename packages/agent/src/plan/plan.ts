/**
 * The planner: desired kernel state minus actual state = operations in phases. Pure.
 *
 * The order is what makes every prefix safe. Withdraw what may no longer take part; write rows that no packet can see yet; narrow the
 * ends that change; move identities and addresses; widen; admit what was held; judge live connections with moved addresses again.
 * While moving, every changing end has rules that allow only what old and new both allow (see `between`).
 */
import type { EndpointEntry } from '@bulkhead/kernel';
import { reservedIdentity } from '@bulkhead/policy';
import { amendmentStages } from './amend.ts';
import { between, lookup, type Between, type ContentContext, type PeerMove } from './contents.ts';
import { closedRows, isOpen } from './closed.ts';
import {
  closedRuleset,
  epochModulus,
  type ActualKernel,
  type ActualRuleset,
  type DesiredKernel,
  type EndpointTarget,
  type Operation,
  type Plan,
  type Refusals,
  type RulesetContent,
} from './model.ts';
import { hostAddressesToJudge, hostPortChanges } from './host.ts';
import { distinct, movesBetween, type LearntMove, type Moves } from './moves.ts';
import { withoutRefused } from './refuse.ts';
import { assignRulesets, garbageOf, isOthers, rowsOf, RulesetNumbers, type Assignment } from './rulesets.ts';

/** Most peers that move in one plan before changing ends are simply closed meanwhile. */
export const movesMax = 4096;

export interface PlanInput {
  readonly desired: DesiredKernel;
  readonly actual: ActualKernel;
  readonly refusals: Refusals;
  readonly nextRuleset: number;
  readonly context: ContentContext;
  /** What an endpoint in state `observed` is bound by. */
  readonly everything: RulesetContent;
}

const none: ReadonlySet<number> = new Set();

/** An endpoint that is open before and after, and whose word changes. */
interface Change {
  readonly slot: number;
  readonly target: EndpointTarget;
  readonly ruleset: number;
  readonly old: RulesetContent | ActualRuleset;
  readonly next: RulesetContent;
}

interface Sorted {
  readonly withdraw: readonly Operation[];
  readonly changes: readonly Change[];
  readonly admit: readonly { readonly slot: number; readonly target: EndpointTarget; readonly ruleset: number }[];
}

export function plan(input: PlanInput): Plan {
  const { actual, context } = input;
  const desired = withoutRefused(context, input.desired, input.refusals);
  const numbers = new RulesetNumbers(input.nextRuleset, actual);
  const moved = movesBetween(actual, desired);
  const assignment = assignRulesets(actual, desired, numbers, {
    context,
    refusedPeers: input.refusals.peers,
    mayAmend: mayAmend(input, moved.moves.length),
  });
  const words = new Words(actual);
  const sorted = sortEndpoints(input, desired, assignment, words);
  const identityMoves = sorted.changes.flatMap(({ slot, target }): PeerMove[] => {
    const from = actual.endpoints.get(slot)!.identity;
    return from === target.identity ? [] : [{ from, to: target.identity }];
  });
  const moves = distinct([...moved.moves, ...identityMoves]);
  const amended = amendmentStages(context, assignment.amendments, moves);
  const isSingle =
    sorted.changes.length === 0 ||
    (sorted.changes.length === 1 && moved.operations.length + assignment.amendments.length === 0);
  const stages = isSingle
    ? directFlips(sorted.changes, words)
    : stagedFlips(input, sorted.changes, moves, numbers, words);
  const admit = sorted.admit.map(({ slot, target, ruleset }) => words.flip(slot, target, target.identity, ruleset));
  const phases: readonly (readonly Operation[])[] = [
    sorted.withdraw,
    [...closedRows(actual, desired), ...hostPortChanges(actual, desired), ...assignment.prepare, ...stages.prepare],
    ...amended.narrow,
    stages.narrow,
    [...moved.operations, ...stages.move],
    ...amended.widen,
    stages.widen,
    admit,
    judgeAgain(
      { ...moved, addresses: [...moved.addresses, ...hostAddressesToJudge(actual, desired)] },
      losing(context, actual, desired, moved.learnt),
    ),
  ];
  return {
    phases: phases.filter((phase) => phase.length > 0),
    garbage: [...stages.garbage, ...assignment.stale, ...garbageOf(actual, assignment)],
    nextRuleset: numbers.next,
    basis: assignment.basis,
  };
}

function judgeAgain({ addresses, networks }: Moves, learnt: readonly LearntMove[]): readonly Operation[] {
  return addresses.length + networks.length + learnt.length === 0
    ? []
    : [{ kind: 'judge-again', addresses, networks, learnt }];
}

/** Of what endpoints learnt, that by which a live connection may lose. Most answers allow more than was allowed, and nobody is judged for it. */
function losing(
  context: ContentContext,
  actual: ActualKernel,
  desired: DesiredKernel,
  moves: readonly LearntMove[],
): readonly LearntMove[] {
  return moves.filter(({ slot, from, to }) => {
    const old = actual.rulesets.get(actual.endpoints.get(slot)?.ruleset ?? closedRuleset);
    const next = desired.endpoints.get(slot)?.content;
    if (old === undefined || next === undefined || next === null) return true;
    return !context.store.leq(lookup(context, old, 'egress', from), lookup(context, next, 'egress', to));
  });
}

/** Rows may change in place where it did not fail before, every row is wanted, and no more moves than can be compared. */
function mayAmend({ actual, desired, refusals }: PlanInput, moves: number): boolean {
  if (refusals.amendments || refusals.transitions || refusals.peers.size > 0) return false;
  let identities = 0;
  desired.endpoints.forEach(({ identity }, slot) => {
    const before = actual.endpoints.get(slot);
    if (before !== undefined && before.identity !== identity) identities++;
  });
  return moves + identities <= movesMax;
}

/** Endpoint entries as they will be after the operations made so far; every flip takes the next epoch. */
class Words {
  readonly #actual: ActualKernel;
  readonly #entries = new Map<number, EndpointEntry>();

  constructor(actual: ActualKernel) {
    this.#actual = actual;
  }

  flip(slot: number, target: EndpointTarget, identity: number, ruleset: number, state = target.state): Operation {
    const before = this.#entries.get(slot) ?? this.#actual.endpoints.get(slot);
    const epoch = before === undefined ? target.firstEpoch : (before.epoch + 1) % epochModulus;
    const entry = { ...staticsOf(target, before), state, identity, ruleset, epoch };
    this.#entries.set(slot, entry);
    return { kind: 'set-endpoint', entry };
  }

  /** Only what packets do not see as a change of policy (MTU, budget). */
  amend(target: EndpointTarget, before: EndpointEntry): Operation {
    const { state, identity, ruleset, epoch } = before;
    const entry = { ...staticsOf(target, before), state, identity, ruleset, epoch };
    this.#entries.set(entry.slot, entry);
    return { kind: 'set-endpoint', entry };
  }
}

function sortEndpoints(input: PlanInput, desired: DesiredKernel, assignment: Assignment, words: Words): Sorted {
  const { actual, context } = input;
  const withdraw: Operation[] = [];
  const changes: Change[] = [];
  const admit: { slot: number; target: EndpointTarget; ruleset: number }[] = [];
  for (const slot of actual.endpoints.keys()) {
    if (!desired.endpoints.has(slot)) withdraw.push({ kind: 'remove-endpoint', slot });
  }
  for (const slot of desired.endpoints.keys()) {
    const target = desired.endpoints.get(slot)!;
    const before = actual.endpoints.get(slot);
    const ruleset = assignment.bySlot.get(slot) ?? closedRuleset;
    const opens = isOpen(target.state, ruleset);
    const isHost = target.statics.kind === 'host';
    if (!isHost && !actual.attached.has(target.statics.ifindex))
      withdraw.push({ kind: 'attach', slot, ifindex: target.statics.ifindex });
    if (isHost && before === undefined) {
      // Nobody waits for it to be known, and until now it was judged by nobody: one step, and its rules are in force.
      admit.push({ slot, target, ruleset });
    } else if (
      before === undefined ||
      isOtherEndpoint(before, target) ||
      (!opens && wordDiffers(before, target, ruleset))
    ) {
      // Unknown to the kernel, another interface, or closed from now on: nothing passes before (or unless) it is admitted below.
      const state = opens ? 'held' : target.state;
      const identity = opens ? reservedIdentity.unknown : target.identity;
      withdraw.push(words.flip(slot, target, identity, closedRuleset, state));
      if (opens) admit.push({ slot, target, ruleset });
    } else if (wordDiffers(before, target, ruleset)) {
      if (!isOpen(before.state, before.ruleset)) admit.push({ slot, target, ruleset });
      else {
        const held = actual.rulesets.get(before.ruleset);
        const old = before.state === 'observed' ? input.everything : (held ?? noRules(context));
        const next = target.state === 'observed' ? input.everything : target.content!;
        // Before addresses move: who does not look at what it learnt yet would see them move twice.
        if (target.statics.learns === true && before.learns !== true) withdraw.push(words.amend(target, before));
        changes.push({ slot, target, ruleset, old, next });
      }
    } else if (staticsDiffer(before, target)) {
      withdraw.push(words.amend(target, before));
    }
  }
  return { withdraw, changes, admit };
}

interface Stages {
  readonly prepare: readonly Operation[];
  readonly narrow: readonly Operation[];
  readonly move: readonly Operation[];
  readonly widen: readonly Operation[];
  readonly garbage: readonly Operation[];
}

function directFlips(changes: readonly Change[], words: Words): Stages {
  const widen = changes.map(({ slot, target, ruleset }) => words.flip(slot, target, target.identity, ruleset));
  return { prepare: [], narrow: [], move: [], widen, garbage: [] };
}

function stagedFlips(
  input: PlanInput,
  changes: readonly Change[],
  moves: readonly PeerMove[],
  numbers: RulesetNumbers,
  words: Words,
): Stages {
  const { actual, context, refusals } = input;
  const prepare: Operation[] = [];
  const narrow: Operation[] = [];
  const move: Operation[] = [];
  const widen: Operation[] = [];
  const garbage: Operation[] = [];
  const known = new Map<unknown, Map<RulesetContent, { readonly chosen: Between; readonly ruleset: number }>>();
  const choose = (change: Change): { readonly chosen: Between; readonly ruleset: number } => {
    const byNext = known.get(change.old) ?? new Map();
    known.set(change.old, byNext);
    const found = byNext.get(change.next);
    if (found !== undefined) return found;
    const isTooMany = moves.length > movesMax;
    const chosen: Between = isTooMany
      ? { kind: 'meet', content: input.desired.closed }
      : between(context, change.old, change.next, moves);
    let ruleset = closedRuleset;
    if (chosen.kind === 'meet' && !isTooMany && !refusals.transitions) {
      ruleset = numbers.take();
      prepare.push({ kind: 'set-rows', ruleset, rows: rowsOf(chosen.content, none), purpose: { kind: 'transition' } });
      garbage.push(...removalOf(ruleset, chosen.content));
    }
    byNext.set(change.next, { chosen, ruleset });
    return { chosen, ruleset };
  };
  for (const change of changes) {
    const { slot, target } = change;
    const before = actual.endpoints.get(slot)!;
    const { chosen, ruleset } = choose(change);
    // `observed` is wider than any rules: left in the first stage unless it is what is in force between, entered in the last.
    const during = chosen.kind === 'old' ? before.ruleset : chosen.kind === 'new' ? change.ruleset : ruleset;
    const stateDuring = chosen.kind === 'old' ? before.state : chosen.kind === 'new' ? target.state : 'governed';
    if (chosen.kind !== 'old') narrow.push(words.flip(slot, target, before.identity, during, stateDuring));
    if (before.identity !== target.identity) move.push(words.flip(slot, target, target.identity, during, stateDuring));
    if (chosen.kind !== 'new') widen.push(words.flip(slot, target, target.identity, change.ruleset));
  }
  return { prepare, narrow, move, widen, garbage };
}

function removalOf(ruleset: number, content: RulesetContent): readonly Operation[] {
  const rows = rowsOf(content, none).map(({ direction, peer }) => ({ direction, peer }));
  // Without the row of all others first, a packet in flight could find it in place of a stricter row that is gone already.
  return [
    { kind: 'remove-rows', ruleset, rows: rows.filter(isOthers) },
    { kind: 'remove-rows', ruleset, rows: rows.filter((row) => !isOthers(row)) },
  ];
}

function isOtherEndpoint(before: EndpointEntry, { statics }: EndpointTarget): boolean {
  return (
    before.ifindex !== statics.ifindex ||
    before.kind !== statics.kind ||
    before.mac !== statics.mac ||
    before.ipv4 !== statics.ipv4 ||
    before.ipv6 !== statics.ipv6 ||
    before.generation !== statics.generation
  );
}

function wordDiffers(before: EndpointEntry, target: EndpointTarget, ruleset: number): boolean {
  return before.state !== target.state || before.identity !== target.identity || before.ruleset !== ruleset;
}

function staticsDiffer(before: EndpointEntry, { statics }: EndpointTarget): boolean {
  return (
    before.mtu !== statics.mtu ||
    before.gatewayMac !== statics.gatewayMac ||
    before.connectionsMax !== statics.connectionsMax ||
    (statics.learns === true && before.learns !== true)
  );
}

/** Who has learnt once goes on: what it learnt has to be seen until it is taken out. */
function staticsOf({ statics }: EndpointTarget, before: EndpointEntry | undefined): EndpointTarget['statics'] {
  return before?.learns === true ? { ...statics, learns: true } : statics;
}

function noRules(context: ContentContext): RulesetContent {
  const rows = new Map([[reservedIdentity.any as number, context.denial]]);
  return { egress: rows, ingress: rows };
}
