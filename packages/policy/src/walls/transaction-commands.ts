import type { BeginCommand, WallOutcome, WallRefusal } from './commands.ts';
import { conflictsOf, noteTouches } from './conflicts.ts';
import { coveringOverrides, refused } from './contacts.ts';
import { bearerOf, type Domain, newcomer } from './domain.ts';
import { forgetPart, isExempt, limit, type WallState } from './state.ts';
import { type Transaction, transactionKey } from './transactions.ts';
import type { WallRule } from './wall.ts';

const done: WallOutcome = { kind: 'recorded', breaches: [] };

export function begin(state: WallState, command: BeginCommand): WallOutcome {
  const { transaction: id, expiresAtMs } = command;
  if (state.transactions.get(id) !== undefined) return refused({ because: 'taken', what: 'transaction', name: id });
  const domain = state.domains.find(({ scope, walls }) => scope === 'transaction' && walls.has(command.wall));
  if (domain === undefined) return refused({ because: 'unknown', what: 'wall', name: command.wall });
  const refusal = beginRefusal(state, domain.walls.get(command.wall)!, command);
  if (refusal !== null) return refused(refusal);

  const transaction: Transaction = {
    id,
    key: transactionKey(id, state.step),
    wall: command.wall,
    beginStep: state.step,
    begunAtMs: state.nowMs,
    expiresAtMs,
    roles: new Map(),
    tokens: new Map(),
    touched: new Map(),
    parts: new Set(),
  };
  state.transactions.add(transaction);
  for (const [role, workloads] of command.roles) {
    for (const workload of workloads) {
      const refusal = bindOne(state, domain, transaction, role, workload);
      if (refusal === null) continue;
      forget(state, transaction);
      return refused(refusal);
    }
  }
  return done;
}

function beginRefusal(state: WallState, wall: WallRule, { roles, expiresAtMs }: BeginCommand): WallRefusal | null {
  const { limits, nowMs } = state;
  if (state.transactions.size >= limits.transactionsMax) return limit('transactionsMax', limits);
  if (expiresAtMs <= nowMs) return { because: 'improper', reason: 'the transaction would have expired already' };
  if (expiresAtMs - nowMs > limits.transactionMsMax) return limit('transactionMsMax', limits);
  if (roles.reduce((sum, [, workloads]) => sum + workloads.length, 0) > limits.bindingsMax)
    return limit('bindingsMax', limits);
  for (const [role] of roles) {
    const refusal = roleRefusal(wall, role);
    if (refusal !== null) return refusal;
  }
  return null;
}

/** Where roles are kept apart, a role that no conflict names would be kept from nothing: surely a slip. */
function roleRefusal({ readings, pairs }: WallRule, role: string): WallRefusal | null {
  const known = !readings.includes('roles-apart') || pairs.some((pair) => pair.includes(role));
  return known ? null : { because: 'unknown', what: 'role', name: role };
}

export function bind(state: WallState, id: string, role: string, workload: string): WallOutcome {
  const transaction = state.transactions.get(id);
  if (transaction === undefined) return refused({ because: 'unknown', what: 'transaction', name: id });
  if (transaction.expiresAtMs <= state.nowMs) return refused({ because: 'expired', transaction: id, workload });
  const domain = state.domains.find(({ scope, walls }) => scope === 'transaction' && walls.has(transaction.wall))!;
  const unknown = roleRefusal(domain.walls.get(transaction.wall)!, role);
  if (unknown !== null) return refused(unknown);
  const bound = [...transaction.roles.values()].reduce((sum, workloads) => sum + workloads.size, 0);
  if (bound >= state.limits.bindingsMax) return refused(limit('bindingsMax', state.limits));
  const refusal = bindOne(state, domain, transaction, role, workload);
  return refusal === null ? done : refused(refusal);
}

function bindOne(
  state: WallState,
  domain: Domain,
  transaction: Transaction,
  role: string,
  workload: string,
): WallRefusal | null {
  const subject = state.generations.get(workload);
  if (subject === undefined) return { because: 'unknown', what: 'subject', name: workload };
  if (transaction.roles.get(role)?.has(workload) === true) return null;
  if (isExempt(state, domain, subject.segments))
    return { because: 'improper', reason: `${workload} is a sanitizer of the wall: it has no role` };
  const token = state.transactions.bind(transaction, role, workload);
  const member = domain.graph.member(subject.name)!;
  const conflicts = conflictsOf(state, domain, [bearerOf(member), newcomer(subject.name, [token])], transaction);
  const full = member.component.marks.size >= state.limits.marksMax;
  const overrides = coveringOverrides(state, conflicts, [workload]);
  if (full || overrides === null) {
    state.transactions.unbind(transaction, role, workload);
    if (full) return limit('marksMax', state.limits);
    return { because: 'conflict', conflicts: conflicts.slice(0, state.limits.conflictsMax) };
  }
  for (const id of overrides) state.overrides.use(id);
  domain.graph.own(member, token);
  noteTouches(state, domain, member.component);
  return null;
}

/** `end` is what its owner says in time; after the expiry only somebody who looked at it can end it. */
export function end(state: WallState, id: string, reconciling: boolean): WallOutcome {
  const transaction = state.transactions.get(id);
  if (transaction === undefined) return refused({ because: 'unknown', what: 'transaction', name: id });
  const expired = transaction.expiresAtMs <= state.nowMs;
  if (expired && !reconciling) return refused({ because: 'expired', transaction: id, workload: '' });
  if (!expired && reconciling)
    return refused({ because: 'improper', reason: `transaction ${id} has not expired: it can be ended` });
  forget(state, transaction);
  return done;
}

/** Nobody bears its roles any more, and no workload has a part of its own for it. */
export function forget(state: WallState, transaction: Transaction): void {
  for (const { graph } of state.domains) for (const token of transaction.tokens.values()) graph.drop(token);
  state.transactions.remove(transaction);
  for (const name of transaction.parts) {
    const subject = state.subjects.get(name);
    if (subject !== undefined) forgetPart(state, subject, transaction.key);
  }
}
