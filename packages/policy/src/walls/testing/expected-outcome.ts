import type { AdmitCommand, BeginCommand, ContactEnd, StartCommand, WallCommand } from '../commands.ts';
import type { Being, HistoryOracle, OracleConflict, OracleContact, OracleTransaction } from './history-oracle.ts';
import { isOf, nameBit, oracleWalls, pairText, wallRules } from './wall-world.ts';

/** What the oracle has to say to a command, as the text that the walls' answer is compared with; and its part in the history. */
export function expectedOutcome(oracle: HistoryOracle, command: WallCommand): string {
  switch (command.kind) {
    case 'admit':
      return admit(oracle, command);
    case 'start':
      return start(oracle, command);
    case 'stop': {
      const being = oracle.newest.get(command.workload);
      if (being === undefined) return 'refused unknown';
      being.acts = false;
      if (command.gone) oracle.newest.delete(command.workload);
      return recorded([]);
    }
    case 'place': {
      const what = `${command.place.kind}/${command.place.name}`;
      const being = oracle.newest.get(what) ?? oracle.born(what, what, 0);
      return relabelled(oracle, being, command.segments);
    }
    case 'relabel': {
      const being = oracle.newest.get(command.workload);
      return being === undefined ? 'refused unknown' : relabelled(oracle, being, command.segments);
    }
    case 'erase': {
      const what = `${command.place.kind}/${command.place.name}`;
      const being = oracle.newest.get(what);
      if (being === undefined) return 'refused unknown';
      if (oracle.contacts.some(({ ends }) => ends.includes(being))) return 'refused improper';
      oracle.newest.delete(what);
      return recorded([]);
    }
    case 'configure': {
      oracle.walls = oracleWalls(command.configuration.walls.map(({ name }) => name));
      return recorded(
        oracle.beings.flatMap((being) => [
          ...oracle.conflicts([oracle.end(being, null)]),
          ...[...being.parts.keys()].flatMap((part) => oracle.conflicts([oracle.end(being, part)])),
        ]),
      );
    }
    case 'closed':
    case 'abort':
    case 'confirm':
    case 'revoke':
      return contactChange(oracle, command.kind, command.contact);
    case 'begin':
      return begin(oracle, command);
    case 'bind':
      return bind(oracle, command);
    case 'end':
    case 'reconcile': {
      const transaction = oracle.transactions.get(command.transaction);
      if (transaction === undefined) return 'refused unknown';
      const expired = transaction.expiresAtMs <= oracle.nowMs;
      if (expired !== (command.kind === 'reconcile')) return expired ? 'refused expired' : 'refused improper';
      oracle.transactions.delete(command.transaction);
      return recorded([]);
    }
    case 'override': {
      const { override, wall, between, workloads, expiresAtMs } = command;
      const pair = nameBit(between[0]) | nameBit(between[1]);
      const workload = workloads?.[0] ?? null;
      oracle.overrides.set(override, { wall, pair, workload, expiresAtMs, approvers: new Set(), withdrawn: false });
      return recorded([]);
    }
    case 'approve':
    case 'withdraw':
      return overrideChange(oracle, command);
    case 'settle':
      return recorded([]);
  }
}

function admit(oracle: HistoryOracle, command: AdmitCommand): string {
  const { contact: id, transaction: tag, observed } = command;
  const known = oracle.contacts.find((contact) => contact.id === id);
  if (known !== undefined) {
    const same = labelOf(command.from) === known.ends[0].label && labelOf(command.to) === known.ends[1].label;
    if (!same || tag !== known.tag) return 'refused taken';
    return observed ? recorded([]) : 'admitted already';
  }
  const beings: Being[] = [];
  for (const end of [command.from, command.to]) {
    const being = oracle.newest.get(end.kind === 'workload' ? end.workload : labelOf(end));
    if (being === undefined) return 'refused unknown';
    if (end.kind === 'workload' && (being.label !== labelOf(end) || !being.acts)) return 'refused stale-generation';
    beings.push(being);
  }
  const [from, to] = beings as [Being, Being];
  if (from === to) return 'refused improper';
  const transaction = tag === null ? undefined : oracle.transactions.get(tag);
  if (tag !== null && transaction === undefined) return 'refused unknown';
  const number = transaction?.number ?? null;
  const parts = [oracle.partOf(from, number), oracle.partOf(to, number)] as const;
  if (tag !== null && parts[0] === null && parts[1] === null) return 'refused improper';
  if (!observed && beings.some(({ what }) => oracle.boundIn(what).some((t) => t.expiresAtMs <= oracle.nowMs)))
    return 'refused expired';

  const conflicts = oracle.conflicts([oracle.end(from, parts[0]), oracle.end(to, parts[1])]);
  if (!observed && !oracle.covered(conflicts, [from.what, to.what])) return refusedFor(conflicts);
  const acting = [oracle.acting(from, parts[0]), oracle.acting(to, parts[1])] as const;
  const contact: OracleContact = { id, ends: [from, to], tag, transaction: number, acting, reserved: !observed };
  oracle.contacts = [...oracle.contacts, contact];
  if (observed) return recorded(conflicts);
  const exempt = oracle.walls.filter(({ sanitizers }) =>
    sanitizers.some((name) => beings.some((b) => b.what === name)),
  );
  const walls = exempt.map(({ name }) => name).sort();
  return `admitted exempt=${walls.join()} overridden=${conflicts.length > 0}`;
}

function start(oracle: HistoryOracle, command: StartCommand): string {
  const { workload, epoch, afresh } = command;
  const label = `workload/${workload}@${epoch}`;
  const before = oracle.newest.get(workload);
  if (before !== undefined) {
    const epochBefore = Number(before.label.split('@')[1]);
    if (epoch === epochBefore && before.acts) return recorded([]);
    if (epoch <= epochBefore) return 'refused stale-generation';
  }
  if (oracle.beings.some((being) => being.label === label)) return 'refused taken';
  const sessions = command.sessions.map((id) => oracle.contacts.find((contact) => contact.id === id));
  if (sessions.some((contact) => contact === undefined || before === undefined || !contact.ends.includes(before)))
    return 'refused unknown';

  const others = (sessions as OracleContact[]).map((contact) => {
    const far = contact.ends[0] === before ? 1 : 0;
    const being = contact.ends[far];
    return { what: being.what, number: being.number, acting: contact.acting[far], more: 0 };
  });
  if (!afresh && before !== undefined) others.unshift(oracle.end(before, null));
  const is = isOf(command.segments);
  const conflicts = oracle.conflictsOfStart(oracle.newcomer(workload, is), others);
  if (!oracle.covered(conflicts, [workload])) return refusedFor(conflicts);
  const being = oracle.born(label, workload, is);
  if (before === undefined) return recorded(conflicts);
  before.acts = false;
  if (!afresh) oracle.inherit(before, being);
  oracle.contacts = oracle.contacts.map((contact) =>
    sessions.includes(contact) ? moved(oracle, contact, before, being) : contact,
  );
  return recorded(conflicts);
}

function moved(oracle: HistoryOracle, contact: OracleContact, before: Being, after: Being): OracleContact {
  const ends = contact.ends.map((end) => (end === before ? after : end)) as [Being, Being];
  const acting = ends.map((end) => oracle.acting(end, oracle.partOf(end, contact.transaction))) as [number, number];
  return { ...contact, ends, acting };
}

/** A fact is part of the history first, and judged then. */
function relabelled(oracle: HistoryOracle, being: Being, segments: readonly string[]): string {
  being.is = isOf(segments);
  oracle.pass();
  return recorded(oracle.conflicts([oracle.end(being, null)]));
}

function contactChange(oracle: HistoryOracle, change: 'closed' | 'abort' | 'confirm' | 'revoke', id: string): string {
  const contact = oracle.contacts.find((known) => known.id === id);
  if (contact === undefined) return 'refused unknown';
  if (change === 'abort' && !contact.reserved) return 'refused improper';
  oracle.contacts =
    change === 'closed' || change === 'abort'
      ? oracle.contacts.filter((known) => known !== contact)
      : oracle.contacts.map((known) => (known === contact ? { ...known, reserved: false } : known));
  return recorded([]);
}

function begin(oracle: HistoryOracle, command: BeginCommand): string {
  const { transaction: id, wall, expiresAtMs } = command;
  if (oracle.transactions.has(id)) return 'refused taken';
  if (oracle.walls.every(({ name, scope }) => name !== wall || scope !== 'transaction')) return 'refused unknown';
  if (expiresAtMs <= oracle.nowMs) return 'refused improper';
  if (command.roles.some(([role]) => !isRole(wall, role))) return 'refused unknown';
  const number = oracle.transactionsBegun++;
  oracle.transactions.set(id, { id, number, wall, expiresAtMs, began: oracle.momentsPassed, bound: [] });
  // Contacts that are live when it begins are contacts during it.
  oracle.pass();
  for (const [role, workloads] of command.roles) {
    for (const workload of workloads) {
      const answer = bindOne(oracle, oracle.transactions.get(id)!, role, workload);
      if (answer === null) continue;
      oracle.transactions.delete(id);
      return answer;
    }
  }
  return recorded([]);
}

function isRole(wall: string, role: string): boolean {
  const { readings, pairs } = wallRules[wall]!;
  return !readings.includes('roles-apart') || pairs.some((pair) => pair.includes(role));
}

function bind(oracle: HistoryOracle, command: WallCommand & { kind: 'bind' }): string {
  const transaction = oracle.transactions.get(command.transaction);
  if (transaction === undefined) return 'refused unknown';
  if (transaction.expiresAtMs <= oracle.nowMs) return 'refused expired';
  if (!isRole(transaction.wall, command.role)) return 'refused unknown';
  return bindOne(oracle, transaction, command.role, command.workload) ?? recorded([]);
}

/** Null where the workload is bound. */
function bindOne(
  oracle: HistoryOracle,
  transaction: OracleTransaction,
  roleName: string,
  workload: string,
): string | null {
  const being = oracle.newest.get(workload);
  if (being === undefined) return 'refused unknown';
  const role = nameBit(roleName);
  const { wall } = transaction;
  if (transaction.bound.some(([known, who]) => known === role && who === workload)) return null;
  if (oracle.walls.some(({ name, sanitizers }) => name === wall && sanitizers.includes(workload)))
    return 'refused improper';
  const end = oracle.end(being, null, oracle.rolesIfBound(transaction, role));
  // To be bound is no contact: it concerns this transaction alone.
  const conflicts = oracle.conflicts([end]).filter((conflict) => conflict.transaction === transaction.id);
  if (!oracle.covered(conflicts, [workload])) return refusedFor(conflicts);
  transaction.bound.push([role, workload]);
  oracle.pass();
  return null;
}

function overrideChange(oracle: HistoryOracle, command: WallCommand & { kind: 'approve' | 'withdraw' }): string {
  const override = oracle.overrides.get(command.override);
  if (override === undefined) return 'refused unknown';
  if (command.kind === 'withdraw') {
    override.withdrawn = true;
    return recorded([]);
  }
  const { approvers } = override;
  if (override.withdrawn || override.expiresAtMs <= oracle.nowMs || approvers.has(command.by))
    return 'refused improper';
  if (approvers.size < 2) approvers.add(command.by);
  return recorded([]);
}

function labelOf(end: ContactEnd): string {
  return end.kind === 'workload' ? `workload/${end.workload}@${end.epoch}` : `${end.kind}/${end.name}`;
}

function recorded(conflicts: readonly OracleConflict[]): string {
  return `recorded ${conflictsText(conflicts)}`;
}

function refusedFor(conflicts: readonly OracleConflict[]): string {
  return `refused ${conflictsText(conflicts)}`;
}

function conflictsText(conflicts: readonly OracleConflict[]): string {
  return conflictList(conflicts.map(({ wall, pair, transaction }) => `${wall}:${pairText(pair)}:${transaction}`));
}

export function conflictList(texts: readonly string[]): string {
  return [...new Set(texts)].sort().join(' ');
}
