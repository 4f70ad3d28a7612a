import {
  generationName,
  type Place,
  type StartCommand,
  subjectName,
  type WallConflict,
  type WallOutcome,
} from './commands.ts';
import { conflictsOf, noteTouches } from './conflicts.ts';
import { coveringOverrides, forgetIfOver, linkedMembers, linkIn, refused, refusedFor, unlinkIn } from './contacts.ts';
import { type ContactFacts, tokenFirst } from './contact-graph.ts';
import { type Bearer, bearerOf, type Domain, newcomer } from './domain.ts';
import {
  isExempt,
  limit,
  type LiveContact,
  memberFor,
  notePart,
  ownMarks,
  partName,
  type Subject,
  type WallState,
} from './state.ts';

/**
 * A generation starts. Afresh, it bears what it is, the roles that its workload is bound in, and what the other ends of its kept
 * sessions bear; otherwise also all that the generation before bore.
 */
export function start(state: WallState, command: StartCommand): WallOutcome {
  const { workload, epoch, image } = command;
  const before = state.generations.get(workload);
  const last = before?.generation;
  if (last?.epoch === epoch && last.image === image && before!.running) return { kind: 'recorded', breaches: [] };
  if (last != null && epoch <= last.epoch) return refused({ because: 'stale-generation', workload, epoch: last.epoch });
  const name = generationName(workload, epoch);
  if (state.subjects.has(name)) return refused({ because: 'taken', what: 'subject', name });
  if (command.segments.length > state.limits.segmentsPerSubjectMax)
    return refused(limit('segmentsPerSubjectMax', state.limits));
  if (state.subjects.size >= state.limits.subjectsMax && !command.observed)
    return refused(limit('subjectsMax', state.limits));
  const sessions: LiveContact[] = [];
  for (const id of new Set(command.sessions)) {
    const contact = state.contacts.get(id);
    if (contact === undefined || before === undefined || (contact.from !== before && contact.to !== before))
      return refused({ because: 'unknown', what: 'contact', name: id });
    sessions.push(contact);
  }

  const generation = { workload, epoch, image };
  const subject: Subject = {
    name,
    kind: 'workload',
    generation,
    segments: command.segments,
    running: true,
    contacts: new Set(),
    parts: new Set(),
  };
  const conflicts = startConflicts(state, command, subject, before, sessions);
  const overrides = command.observed ? [] : coveringOverrides(state, conflicts, [workload]);
  if (overrides === null) return refusedFor(state, conflicts);
  for (const id of overrides) state.overrides.use(id);
  enter(state, command, subject, before, sessions);
  return { kind: 'recorded', breaches: conflicts };
}

function startConflicts(
  state: WallState,
  command: StartCommand,
  subject: Subject,
  before: Subject | undefined,
  sessions: readonly LiveContact[],
): WallConflict[] {
  return state.domains.flatMap((domain) => {
    if (isExempt(state, domain, subject.segments)) return [];
    const bearers: Bearer[] = [newcomer(subject.name, ownMarks(state, domain, subject))];
    if (!command.afresh && before !== undefined) bearers.push(bearerOf(domain.graph.member(before.name)!));
    for (const contact of sessions) {
      const ends = linkedMembers(domain, contact);
      if (ends !== null) bearers.push(bearerOf(contact.from === before ? ends[1] : ends[0]));
    }
    return conflictsOf(state, domain, bearers);
  });
}

function enter(
  state: WallState,
  command: StartCommand,
  subject: Subject,
  before: Subject | undefined,
  sessions: readonly LiveContact[],
): void {
  const { nowMs: atMs, step, revision } = state;
  state.subjects.set(subject.name, subject);
  state.generations.set(command.workload, subject);
  for (const domain of state.domains) {
    if (command.afresh || before === undefined) {
      noteTouches(state, domain, domain.graph.add(subject.name, ownMarks(state, domain, subject)).component);
      continue;
    }
    const ends = { from: before.name, to: subject.name };
    const facts: ContactFacts = {
      id: subject.name,
      medium: 'carry-over',
      ...ends,
      atMs,
      step,
      revision,
      overrides: [],
    };
    for (const key of [null, ...before.parts]) {
      const left = domain.graph.member(key === null ? before.name : partName(before, key));
      const part = key === null ? null : state.transactions.byKey(key);
      if (left === undefined || part === undefined) continue;
      if (part !== null) notePart(subject, part);
      const name = key === null ? subject.name : partName(subject, key);
      const own = ownMarks(state, domain, subject, key);
      const member = domain.graph.add(name, own, domain.graph.carriedFrom(left, facts, step));
      noteTouches(state, domain, member.component);
    }
  }
  if (before === undefined) return;
  before.running = false;
  for (const contact of sessions) move(state, contact, before, subject);
  forgetIfOver(state, before);
}

/** The session is the new generation's from now on. */
function move(state: WallState, contact: LiveContact, before: Subject, after: Subject): void {
  for (const domain of state.domains) unlinkIn(state, domain, contact);
  const [from, to] = [contact.from, contact.to].map((end) => (end === before ? after : end)) as [Subject, Subject];
  const { id, overrides } = contact.facts;
  const { nowMs: atMs, step, revision } = state;
  const facts: ContactFacts = { id, medium: 'session', from: from.name, to: to.name, atMs, step, revision, overrides };
  const moved: LiveContact = { ...contact, facts, from, to };
  state.contacts.set(id, moved);
  before.contacts.delete(id);
  after.contacts.add(id);
  for (const domain of state.domains) linkIn(state, domain, moved);
}

/** Contacts of what stopped count until each of them is closed. */
export function stop(state: WallState, workload: string, gone: boolean): WallOutcome {
  const subject = state.generations.get(workload);
  if (subject === undefined) return refused({ because: 'unknown', what: 'subject', name: workload });
  subject.running = false;
  if (gone) state.generations.delete(workload);
  forgetIfOver(state, subject);
  return { kind: 'recorded', breaches: [] };
}

export function place(state: WallState, place: Place, segments: readonly string[]): WallOutcome {
  const name = subjectName(place);
  const known = state.subjects.get(name);
  if (known !== undefined) return relabel(state, known, segments);
  if (segments.length > state.limits.segmentsPerSubjectMax)
    return refused(limit('segmentsPerSubjectMax', state.limits));
  if (state.subjects.size >= state.limits.subjectsMax) return refused(limit('subjectsMax', state.limits));
  const subject: Subject = {
    name,
    kind: place.kind,
    generation: null,
    segments,
    running: true,
    contacts: new Set(),
    parts: new Set(),
  };
  state.subjects.set(name, subject);
  for (const domain of state.domains) domain.graph.add(name, ownMarks(state, domain, subject));
  return { kind: 'recorded', breaches: standing(state, subject) };
}

/** What was there is gone for good, and nobody has it open. */
export function erase(state: WallState, place: Place): WallOutcome {
  const name = subjectName(place);
  const subject = state.subjects.get(name);
  if (subject === undefined) return refused({ because: 'unknown', what: 'place', name });
  if (subject.contacts.size > 0) return refused({ because: 'improper', reason: `${name} still has contacts` });
  subject.running = false;
  forgetIfOver(state, subject);
  return { kind: 'recorded', breaches: [] };
}

/** Labels changed, which is a fact: what it breaks is told. */
export function relabel(state: WallState, subject: Subject, segments: readonly string[]): WallOutcome {
  if (segments.length > state.limits.segmentsPerSubjectMax)
    return refused(limit('segmentsPerSubjectMax', state.limits));
  subject.segments = segments;
  for (const domain of state.domains) syncSubject(state, domain, subject);
  return { kind: 'recorded', breaches: standing(state, subject) };
}

function standing(state: WallState, subject: Subject): WallConflict[] {
  return state.domains.flatMap((domain) => conflictsOf(state, domain, [bearerOf(domain.graph.member(subject.name)!)]));
}

/** Brings what the subject bears by nature, and which of its contacts the domain sees, in line with segments and walls. */
export function syncSubject(state: WallState, domain: Domain, subject: Subject): void {
  const main = memberFor(state, domain, subject, null);
  syncOwn(state, domain, main, ownMarks(state, domain, subject));
  for (const id of subject.contacts) {
    const contact = state.contacts.get(id)!;
    const seen = !isExempt(state, domain, contact.from.segments) && !isExempt(state, domain, contact.to.segments);
    const linked = linkedMembers(domain, contact) !== null;
    if (seen && !linked) linkIn(state, domain, contact);
    else if (!seen && linked) unlinkIn(state, domain, contact);
  }
  for (const key of subject.parts) {
    const part = domain.graph.member(partName(subject, key));
    if (part !== undefined) syncOwn(state, domain, part, ownMarks(state, domain, subject, key));
  }
}

function syncOwn(
  state: WallState,
  domain: Domain,
  member: ReturnType<typeof memberFor>,
  own: ReadonlySet<number>,
): void {
  for (const mark of [...member.own])
    if (mark < tokenFirst && !own.has(mark)) domain.graph.disown(member, mark, state.step);
  for (const mark of own) domain.graph.own(member, mark);
  noteTouches(state, domain, member.component);
}
