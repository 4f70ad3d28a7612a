import type { AdmitCommand, ContactEnd, WallConflict, WallOutcome, WallRefusal } from './commands.ts';
import { subjectName } from './commands.ts';
import { conflictsOf, noteTouches } from './conflicts.ts';
import type { ContactFacts, Mark, Member } from './contact-graph.ts';
import { type Bearer, bearerOf, type Domain, newcomer } from './domain.ts';
import {
  isExempt,
  limit,
  type LiveContact,
  forgetPart,
  memberFor,
  ownMarks,
  partName,
  partOf,
  type Subject,
  type WallState,
} from './state.ts';
import { idOfKey, isBound } from './transactions.ts';

/** What would come of the command, changing nothing. */
export function judgeAdmit(state: WallState, command: AdmitCommand): WallOutcome {
  const known = state.contacts.get(command.contact);
  if (known !== undefined) return repeated(known, command);
  const ends = [endSubject(state, command.from), endSubject(state, command.to)] as const;
  const [from, to] = ends;
  if ('because' in from) return refused(from);
  if ('because' in to) return refused(to);
  if (from === to) return refused({ because: 'improper', reason: 'a contact has two different ends' });
  const refusal = requestRefusal(state, command, from, to);
  if (refusal !== null) return refused(refusal);

  const { conflicts, exempt, tooMany } = judgeDomains(state, command, from, to);
  if (command.observed) return { kind: 'recorded', breaches: conflicts };
  if (tooMany !== null) return refused(tooMany);
  const workloads = [from, to].flatMap(({ generation }) => (generation === null ? [] : [generation.workload]));
  const overrides = coveringOverrides(state, conflicts, workloads);
  if (overrides === null) return refusedFor(state, conflicts);
  return { kind: 'admitted', already: false, exempt, overrides };
}

/** The contact counts from here on, if the answer is `admitted` or `recorded`. */
export function admit(state: WallState, command: AdmitCommand): WallOutcome {
  const outcome = judgeAdmit(state, command);
  const isNew = (outcome.kind === 'admitted' && !outcome.already) || outcome.kind === 'recorded';
  if (!isNew || state.contacts.has(command.contact)) return outcome;
  const [from, to] = [command.from, command.to].map((end) => state.subjects.get(subjectName(end))!) as [
    Subject,
    Subject,
  ];
  const overrides = outcome.kind === 'admitted' ? outcome.overrides : [];
  for (const id of overrides) state.overrides.use(id);
  const { contact: id, medium } = command;
  const transaction = keyOf(state, command);
  const { nowMs: atMs, step, revision } = state;
  const facts: ContactFacts = { id, medium, from: from.name, to: to.name, atMs, step, revision, overrides };
  addContact(state, { facts, from, to, transaction, state: command.observed ? 'live' : 'reserved' });
  return outcome;
}

function repeated({ from, to, transaction }: LiveContact, command: AdmitCommand): WallOutcome {
  const same =
    from.name === subjectName(command.from) &&
    to.name === subjectName(command.to) &&
    (transaction === null ? null : idOfKey(transaction)) === command.transaction;
  if (!same) return refused({ because: 'taken', what: 'contact', name: command.contact });
  return command.observed
    ? { kind: 'recorded', breaches: [] }
    : { kind: 'admitted', already: true, exempt: [], overrides: [] };
}

function endSubject(state: WallState, end: ContactEnd): Subject | WallRefusal {
  const name = subjectName(end);
  const subject = state.subjects.get(name);
  if (end.kind !== 'workload') return subject ?? { because: 'unknown', what: 'subject', name };
  const current = state.generations.get(end.workload);
  if (subject !== undefined && subject === current && subject.running) return subject;
  if (current === undefined) return { because: 'unknown', what: 'subject', name };
  return {
    because: 'stale-generation',
    workload: end.workload,
    epoch: current.running ? current.generation!.epoch : null,
  };
}

function requestRefusal(state: WallState, command: AdmitCommand, from: Subject, to: Subject): WallRefusal | null {
  if (command.transaction !== null) {
    const transaction = state.transactions.get(command.transaction);
    if (transaction === undefined) return { because: 'unknown', what: 'transaction', name: command.transaction };
    const bound = [from, to].some(({ generation }) => generation !== null && isBound(transaction, generation.workload));
    if (!bound) return { because: 'improper', reason: `neither end is bound in transaction ${command.transaction}` };
  }
  if (command.observed) return null;
  for (const { generation } of [from, to]) {
    const expired = generation === null ? null : state.transactions.expired(generation.workload, state.nowMs);
    if (expired !== null) return { because: 'expired', transaction: expired.id, workload: generation!.workload };
  }
  return state.contacts.size >= state.limits.contactsMax ? limit('contactsMax', state.limits) : null;
}

function judgeDomains(state: WallState, command: AdmitCommand, from: Subject, to: Subject) {
  const conflicts: WallConflict[] = [];
  const exempt: string[] = [];
  let tooMany: WallRefusal | null = null;
  const key = keyOf(state, command);
  for (const domain of state.domains) {
    if (isExempt(state, domain, from.segments) || isExempt(state, domain, to.segments)) {
      exempt.push(...domain.walls.keys());
      continue;
    }
    const a = bearerFor(state, domain, from, key);
    const b = bearerFor(state, domain, to, key);
    conflicts.push(...conflictsOf(state, domain, [a, b]));
    if (marksTogether(a.marks, b.marks) > state.limits.marksMax) tooMany = limit('marksMax', state.limits);
  }
  return { conflicts, exempt, tooMany };
}

/** The member at that end of the contact, or what it would be. */
function bearerFor(state: WallState, domain: Domain, subject: Subject, key: string | null): Bearer {
  const part = partOf(state, domain, subject, key);
  const member = domain.graph.member(part === null ? subject.name : partName(subject, part.key));
  return member === undefined ? newcomer(subject.name, ownMarks(state, domain, subject, key)) : bearerOf(member);
}

function marksTogether(a: ReadonlyMap<Mark, number>, b: ReadonlyMap<Mark, number>): number {
  if (a === b) return 0;
  const [few, many] = a.size <= b.size ? [a, b] : [b, a];
  let count = many.size;
  for (const mark of few.keys()) if (!many.has(mark)) count += 1;
  return count;
}

/** The overrides that together lift all conflicts, null where one stays. */
export function coveringOverrides(
  state: WallState,
  conflicts: readonly WallConflict[],
  workloads: readonly string[],
): readonly string[] | null {
  if (conflicts.length > state.limits.conflictsMax) return null;
  const used = new Set<string>();
  for (const conflict of conflicts) {
    const override = state.overrides.covering(conflict, workloads, state.nowMs);
    if (override === null) return null;
    used.add(override);
  }
  return [...used];
}

/** Enters the contact and lets everything that either end bears spread. */
export function addContact(state: WallState, contact: LiveContact): void {
  state.contacts.set(contact.facts.id, contact);
  contact.from.contacts.add(contact.facts.id);
  contact.to.contacts.add(contact.facts.id);
  for (const domain of state.domains) linkIn(state, domain, contact);
}

export function linkIn(state: WallState, domain: Domain, { facts, from, to, transaction }: LiveContact): void {
  if (isExempt(state, domain, from.segments) || isExempt(state, domain, to.segments)) return;
  const a = memberFor(state, domain, from, transaction);
  domain.graph.link(a, memberFor(state, domain, to, transaction), facts);
  noteTouches(state, domain, a.component);
}

/** The contact is over. */
export function removeContact(state: WallState, contact: LiveContact): void {
  state.contacts.delete(contact.facts.id);
  for (const domain of state.domains) unlinkIn(state, domain, contact);
  for (const subject of [contact.from, contact.to]) {
    subject.contacts.delete(contact.facts.id);
    forgetIfOver(state, subject);
  }
}

export function unlinkIn(state: WallState, domain: Domain, contact: LiveContact): void {
  const ends = linkedMembers(domain, contact);
  if (ends === null) return;
  domain.graph.unlink(...ends, contact.facts.id, state.step);
  const { transaction } = contact;
  if (transaction === null || state.transactions.byKey(transaction) !== undefined) return;
  for (const subject of [contact.from, contact.to])
    if (subject.parts.has(transaction)) forgetPart(state, subject, transaction);
}

/** The members that the contact joins; null where it joins none, since an end is a sanitizer. */
export function linkedMembers(domain: Domain, { facts, from, to, transaction }: LiveContact): [Member, Member] | null {
  for (const a of standIns(domain, from, transaction)) {
    for (const b of standIns(domain, to, transaction)) if (a.links.get(b)?.has(facts.id) === true) return [a, b];
  }
  return null;
}

/** The subject's member, and the one for a transaction. */
function* standIns(domain: Domain, subject: Subject, transaction: string | null): Generator<Member> {
  const main = domain.graph.member(subject.name);
  if (main !== undefined) yield main;
  const part = transaction === null ? undefined : domain.graph.member(partName(subject, transaction));
  if (part !== undefined) yield part;
}

/** A generation that another followed is forgotten when its last contact is over; so is a place that was erased. */
export function forgetIfOver(state: WallState, subject: Subject): void {
  if (subject.running || subject.contacts.size > 0) return;
  if (subject.generation !== null && state.generations.get(subject.generation.workload) === subject) return;
  state.subjects.delete(subject.name);
  for (const key of subject.parts) state.transactions.byKey(key)?.parts.delete(subject.name);
  const names = [subject.name, ...[...subject.parts].map((key) => partName(subject, key))];
  for (const { graph } of state.domains) {
    for (const name of names) {
      const member = graph.member(name);
      if (member !== undefined) graph.remove(member, state.step);
    }
  }
}

function keyOf(state: WallState, { transaction }: AdmitCommand): string | null {
  return transaction === null ? null : state.transactions.get(transaction)!.key;
}

export function refusedFor(state: WallState, conflicts: readonly WallConflict[]): WallOutcome {
  return refused({ because: 'conflict', conflicts: conflicts.slice(0, state.limits.conflictsMax) });
}

export function refused(refusal: WallRefusal): WallOutcome {
  return { kind: 'refused', refusal };
}
