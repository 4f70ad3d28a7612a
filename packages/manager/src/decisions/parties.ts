/** The two ends of a question as the manager knows them: what conditions are told, what is logged, and what an answer is kept under. */
import type { PartyFacts } from '@bulkhead/policy';
import type { QuestionMessage, StoredParty } from '@bulkhead/protocol';
import type { InventoryView } from '../services.ts';

export interface KnownParty {
  readonly facts: PartyFacts;
  readonly stored: StoredParty;
}

export type Parties =
  | { readonly kind: 'known'; readonly source: KnownParty; readonly destination: KnownParty }
  /** Stored as the agent said it; the answer is a denial. */
  | { readonly kind: 'unknown'; readonly source: StoredParty; readonly destination: StoredParty; readonly why: string };

type MessageParty = QuestionMessage['source'];

export function resolveParties(host: string, question: QuestionMessage, inventory: InventoryView): Parties {
  const source = resolveParty(host, question.source, inventory);
  const destination = resolveParty(host, question.destination, inventory);
  const why =
    (source.kind === 'unknown' ? source.why : null) ??
    (destination.kind === 'unknown' ? destination.why : null) ??
    foreign(host, source, destination);
  if (why !== null || source.kind === 'unknown' || destination.kind === 'unknown') {
    return { kind: 'unknown', source: source.stored, destination: destination.stored, why: why ?? 'unknown' };
  }
  return { kind: 'known', source, destination };
}

type Resolved =
  | ({ readonly kind: 'known' } & KnownParty)
  | { readonly kind: 'unknown'; readonly stored: StoredParty; readonly why: string };

const nobody = {
  name: '',
  labels: {},
  segments: [],
  class: '',
  boundary: 'none',
  image: '',
  imageDigest: '',
  generation: 0,
} as const;

function resolveParty(host: string, party: MessageParty, inventory: InventoryView): Resolved {
  const wire = { workload: party.workload, identity: party.identity, address: party.address, port: party.port };
  const bare: StoredParty = { ...wire, name: null, labels: {}, segments: [] };
  if (party.workload === null) {
    const facts: PartyFacts = { ...nobody, kind: 'address', workload: '', host: '', address: party.address };
    return { kind: 'known', facts, stored: bare };
  }
  if (party.workload === 'host') {
    const facts: PartyFacts = { ...nobody, kind: 'host', workload: '', host, address: party.address };
    return { kind: 'known', facts, stored: bare };
  }
  const view = inventory.workload(party.workload);
  if (view === null) return { kind: 'unknown', stored: bare, why: `the workload ${party.workload} is not known here` };
  const { name, labels, segments } = view;
  const stored: StoredParty = { ...wire, identity: view.identity, name, labels, segments: [...segments] };
  if (view.generation !== party.generation) {
    const why = `${name} is in generation ${view.generation}, and the question is about generation ${party.generation}`;
    return { kind: 'unknown', stored, why };
  }
  const facts: PartyFacts = {
    kind: 'workload',
    workload: view.workload,
    name,
    labels,
    segments,
    class: view.isolationClass,
    boundary: view.boundary,
    image: view.image ?? '',
    imageDigest: view.imageDigest ?? '',
    host: view.host,
    generation: view.generation,
    address: party.address,
  };
  return { kind: 'known', facts, stored };
}

/** A host asks about its own workloads only: one end is a workload of its own. */
function foreign(host: string, source: Resolved, destination: Resolved): string | null {
  const own = [source, destination].some(
    (end) => end.kind === 'known' && end.facts.kind === 'workload' && end.facts.host === host,
  );
  return own ? null : `neither end is a workload of the host ${host}`;
}

/** Differs between any two workloads and between the generations of one. */
export function pairKey(facts: PartyFacts): string {
  switch (facts.kind) {
    case 'workload':
      return `${facts.workload}@${facts.generation}`;
    case 'host':
      return `host ${facts.host}`;
    case 'address':
      return facts.address;
  }
}

/** The same for workloads of one identity. */
export function identityKey(facts: PartyFacts, stored: StoredParty): string {
  return facts.kind === 'workload' ? `#${stored.identity}` : pairKey(facts);
}
