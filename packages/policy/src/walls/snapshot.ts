import {
  type ContactFacts,
  type ContactGraph,
  type Gain,
  lostGain,
  type Mark,
  ownGain,
  stillThere,
} from './contact-graph.ts';
import { linkedMembers } from './contacts.ts';
import { type Domain, domainsOf } from './domain.ts';
import type { WallLimits } from './limits.ts';
import { type Override, Overrides } from './overrides.ts';
import { emptyWallState, type LiveContact, type Subject, type WallState } from './state.ts';
import { type Transaction, Transactions } from './transactions.ts';
import type { WallConfiguration } from './wall.ts';

/** Everything that `Walls` remember, as plain data (JSON keeps it). Contacts and gains are tables; what refers to them has numbers. */
export interface WallSnapshot {
  readonly version: 1;
  readonly step: number;
  readonly nowMs: number;
  readonly revision: number;
  readonly configuration: WallConfiguration;
  readonly names: readonly string[];
  readonly tokensMade: number;
  readonly subjects: readonly SubjectRow[];
  readonly facts: readonly ContactFacts[];
  /** Each after the one that it refers to. */
  readonly gains: readonly GainRow[];
  readonly contacts: readonly ContactRow[];
  readonly domains: readonly DomainRow[];
  readonly transactions: readonly TransactionRow[];
  readonly overrides: readonly Override[];
}

interface SubjectRow extends Pick<Subject, 'name' | 'kind' | 'generation' | 'segments' | 'running'> {
  /** The newest generation of its workload. */
  readonly newest: boolean;
  readonly parts: readonly string[];
}

type GainRow = readonly [facts: number | null, from: string | null, before: number | null, steps: number];
type ContactRow = readonly [
  facts: number,
  from: string,
  to: string,
  transaction: string | null,
  state: LiveContact['state'],
];

interface DomainRow {
  readonly key: string;
  readonly components: readonly ComponentRow[];
  readonly links: readonly (readonly [contact: string, a: string, b: string])[];
}

interface ComponentRow {
  readonly stale: boolean;
  /** Null where somebody in it bears the mark by nature. */
  readonly marks: readonly (readonly [Mark, step: number | null])[];
  readonly members: readonly MemberRow[];
}

type MemberRow = readonly [name: string, own: readonly Mark[], gains: readonly (readonly [Mark, number])[]];

interface TransactionRow {
  readonly id: string;
  readonly key: string;
  readonly wall: string;
  readonly beginStep: number;
  readonly begunAtMs: number;
  readonly expiresAtMs: number;
  readonly roles: readonly (readonly [role: string, workloads: readonly string[]])[];
  readonly tokens: readonly (readonly [role: string, token: Mark])[];
  readonly touched: readonly (readonly [Mark, subject: string, gain: number])[];
}

/** Numbers things as they are first met. */
class Table<Item, Row> {
  readonly rows: Row[] = [];
  readonly #numbers = new Map<Item, number>();
  readonly #rowOf: (item: Item) => Row;

  constructor(rowOf: (item: Item) => Row) {
    this.#rowOf = rowOf;
  }

  number(item: Item): number {
    let number = this.#numbers.get(item);
    if (number === undefined) {
      // Making the row may number others, which come before it.
      const row = this.#rowOf(item);
      number = this.rows.push(row) - 1;
      this.#numbers.set(item, number);
    }
    return number;
  }
}

export function snapshotState(state: WallState): WallSnapshot {
  const facts = new Table<ContactFacts, ContactFacts>((item) => item);
  const gains: Table<Gain, GainRow> = new Table(({ contact, from, before, steps }) => [
    contact === null ? null : facts.number(contact),
    from,
    before === null ? null : gains.number(before),
    steps,
  ]);
  const contacts = [...state.contacts.values()].map((contact): ContactRow => [
    facts.number(contact.facts),
    contact.from.name,
    contact.to.name,
    contact.transaction,
    contact.state,
  ]);
  const domains = state.domains.map((domain) => domainRow(state, domain, gains));
  const transactions = [...state.transactions.all()].map((transaction) => transactionRow(transaction, gains));
  return {
    version: 1,
    step: state.step,
    nowMs: state.nowMs,
    revision: state.revision,
    configuration: state.configuration,
    names: [...state.names.all()],
    tokensMade: state.transactions.tokensMade,
    subjects: [...state.subjects.values()].map((subject) => subjectRow(state, subject)),
    facts: facts.rows,
    gains: gains.rows,
    contacts,
    domains,
    transactions,
    overrides: [...state.overrides.all()],
  };
}

function subjectRow(state: WallState, subject: Subject): SubjectRow {
  const { name, kind, generation, segments, running, parts } = subject;
  const newest = generation !== null && state.generations.get(generation.workload) === subject;
  return { name, kind, generation, segments, running, newest, parts: [...parts] };
}

function transactionRow(transaction: Transaction, gains: Table<Gain, GainRow>): TransactionRow {
  const { id, key, wall, beginStep, begunAtMs, expiresAtMs, roles, tokens, touched } = transaction;
  return {
    id,
    key,
    wall,
    beginStep,
    begunAtMs,
    expiresAtMs,
    roles: [...roles].map(([role, workloads]) => [role, [...workloads]] as const),
    tokens: [...tokens],
    touched: [...touched].map(([mark, { subject, gain }]) => [mark, subject, gains.number(gain)] as const),
  };
}

function domainRow(state: WallState, domain: Domain, gains: Table<Gain, GainRow>): DomainRow {
  const components = [...domain.graph.components()].map(({ members, marks, stale }): ComponentRow => ({
    stale,
    marks: [...marks].map(([mark, stamp]) => [mark, stamp === stillThere ? null : stamp] as const),
    members: [...members].map(({ name, own, gains: borne }): MemberRow => [
      name,
      [...own],
      [...borne].map(([mark, gain]) => [mark, gains.number(gain)] as const),
    ]),
  }));
  const links = [...state.contacts.values()].flatMap((contact) => {
    const ends = linkedMembers(domain, contact);
    return ends === null ? [] : [[contact.facts.id, ends[0].name, ends[1].name] as const];
  });
  return { key: domain.key, components, links };
}

export function restoreState(snapshot: WallSnapshot, limits: WallLimits): WallState {
  const state = emptyWallState(limits);
  state.step = snapshot.step;
  state.nowMs = snapshot.nowMs;
  state.revision = snapshot.revision;
  state.configuration = snapshot.configuration;
  for (const name of snapshot.names) state.names.number(name);
  state.datasetOf = new Map(
    snapshot.configuration.datasets.map(([segment, dataset]) => [segment, state.names.number(dataset)]),
  );
  state.overrides = new Overrides(limits, snapshot.overrides);
  const gains: Gain[] = [];
  for (const [facts, from, before, steps] of snapshot.gains) {
    const contact = facts === null ? null : snapshot.facts[facts]!;
    gains.push(
      contact === null
        ? steps < 0
          ? lostGain
          : ownGain
        : { contact, from, before: before === null ? null : gains[before]!, steps },
    );
  }
  restoreSubjects(state, snapshot);
  state.transactions = new Transactions(snapshot.tokensMade);
  for (const { roles, tokens, touched, ...rest } of snapshot.transactions) {
    state.transactions.add({
      ...rest,
      parts: new Set(),
      roles: new Map(roles.map(([role, workloads]) => [role, new Set(workloads)])),
      tokens: new Map(tokens),
      touched: new Map(touched.map(([mark, subject, gain]) => [mark, { subject, gain: gains[gain]! }])),
    });
  }
  for (const { name, parts } of state.subjects.values())
    for (const key of parts) state.transactions.byKey(key)?.parts.add(name);
  state.domains = domainsOf(snapshot.configuration.walls, state.names, limits);
  for (const [index, { graph }] of state.domains.entries())
    restoreGraph(graph, snapshot.domains[index]!, gains, state.contacts);
  return state;
}

function restoreSubjects(state: WallState, snapshot: WallSnapshot): void {
  for (const { newest, parts, ...row } of snapshot.subjects) {
    const subject: Subject = { ...row, contacts: new Set(), parts: new Set(parts) };
    state.subjects.set(subject.name, subject);
    if (newest) state.generations.set(subject.generation!.workload, subject);
  }
  for (const [factsRow, fromName, toName, transaction, contactState] of snapshot.contacts) {
    const facts = snapshot.facts[factsRow]!;
    const [from, to] = [state.subjects.get(fromName)!, state.subjects.get(toName)!];
    state.contacts.set(facts.id, { facts, from, to, transaction, state: contactState });
    from.contacts.add(facts.id);
    to.contacts.add(facts.id);
  }
}

function restoreGraph(
  graph: ContactGraph,
  row: DomainRow,
  gains: readonly Gain[],
  contacts: ReadonlyMap<string, LiveContact>,
): void {
  for (const { stale, marks, members } of row.components) {
    graph.restore({
      stale,
      marks: marks.map(([mark, step]) => [mark, step ?? stillThere] as const),
      members: members.map(([name, own, borne]) => ({
        name,
        own,
        gains: borne.map(([mark, gain]) => [mark, gains[gain]!] as const),
      })),
    });
  }
  for (const [id, a, b] of row.links) graph.relink(graph.member(a)!, graph.member(b)!, contacts.get(id)!.facts);
}
