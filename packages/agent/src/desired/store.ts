/**
 * The desired state as the manager last said it: documents, identities and workloads of one revision. Persisted as a whole revision or
 * not at all, so that a restart without a manager goes on with the last one.
 */
import {
  changePolicySet,
  createPolicySet,
  documentKey,
  emptyPolicySet,
  parseDocument,
  type Document,
  type Labels,
  type PolicySet,
  type Problem,
} from '@bulkhead/policy';
import type { DesiredMessage } from '@bulkhead/protocol';
import type { KnownWorkload } from '../model.ts';
import type { AgentState, Records } from '../state.ts';

export type AuditHead = NonNullable<DesiredMessage['auditHead']>;
type WorkloadMessage = DesiredMessage['workloads'][number];

/** What one complete message (or several with `more`) changed. Removed identities and workloads are in the maps no more. */
export interface DesiredChange {
  readonly revision: number;
  readonly documents: boolean;
  readonly identitiesSet: readonly number[];
  readonly identitiesRemoved: readonly number[];
  readonly workloadsSet: readonly string[];
  readonly workloadsRemoved: readonly string[];
}

export type Applied =
  | { readonly kind: 'applied'; readonly change: DesiredChange }
  /** More messages belong to this revision. */
  | { readonly kind: 'incomplete' }
  /** Not a difference from what is here: connect again and say so (with `revision` as it is, or 0). */
  | { readonly kind: 'mismatch'; readonly why: string }
  /** Documents that this agent cannot read or resolve. Nothing of the revision was taken. */
  | { readonly kind: 'refused'; readonly problems: readonly Problem[] };

/** Most messages of one revision before it counts as broken. */
const partsMax = 10_000;

export class DesiredStore {
  readonly #state: AgentState;
  readonly #records: {
    readonly meta: Records<{ revision: number; auditHead: AuditHead | null }>;
    readonly documents: Records<Document>;
    readonly identities: Records<Labels>;
    readonly workloads: Records<WorkloadMessage>;
  };
  #revision = 0;
  #auditHead: AuditHead | null = null;
  #policySet: PolicySet = emptyPolicySet;
  readonly #identities = new Map<number, Labels>();
  readonly #workloads = new Map<string, KnownWorkload>();
  readonly #byName = new Map<string, Set<KnownWorkload>>();
  readonly #byAddress = new Map<string, KnownWorkload>();
  #parts: DesiredMessage[] = [];

  /** Reads what was persisted. Documents of an older version that do not resolve leave the store at revision 0: a full state follows. */
  constructor(state: AgentState) {
    this.#state = state;
    this.#records = {
      meta: state.records('desired.meta', (value) => value as { revision: number; auditHead: AuditHead | null }),
      documents: state.records('desired.document', parseStored),
      identities: state.records('desired.identity', (value) => value as Labels),
      workloads: state.records('desired.workload', (value) => value as WorkloadMessage),
    };
    const meta = this.#records.meta.get('meta');
    if (meta === undefined) return;
    const documents = this.#records.documents.entries().map(([, document]) => document);
    const resolved = createPolicySet(documents, { checkCondition: () => null });
    if (resolved.kind === 'refused') return;
    this.#policySet = resolved.policySet;
    for (const [identity, labels] of this.#records.identities.entries()) this.#identities.set(Number(identity), labels);
    for (const [, workload] of this.#records.workloads.entries()) this.#setWorkload(workload);
    this.#revision = meta.revision;
    this.#auditHead = meta.auditHead;
  }

  get revision(): number {
    return this.#revision;
  }

  get auditHead(): AuditHead | null {
    return this.#auditHead;
  }

  get policySet(): PolicySet {
    return this.#policySet;
  }

  get identities(): ReadonlyMap<number, Labels> {
    return this.#identities;
  }

  get workloads(): ReadonlyMap<string, KnownWorkload> {
    return this.#workloads;
  }

  byName(name: string): readonly KnownWorkload[] {
    return [...(this.#byName.get(name) ?? [])];
  }

  byAddress(address: string): KnownWorkload | undefined {
    return this.#byAddress.get(address);
  }

  /** A new connection begins: parts of a revision that did not end are nothing. */
  forgetParts(): void {
    this.#parts = [];
  }

  apply(message: DesiredMessage): Applied {
    const [first] = this.#parts;
    if (first === undefined && message.from !== 0 && message.from !== this.#revision) {
      return { kind: 'mismatch', why: `a difference from revision ${message.from}, but this is ${this.#revision}` };
    }
    if (first !== undefined && (first.revision !== message.revision || first.from !== message.from)) {
      this.#parts = [];
      return { kind: 'mismatch', why: `revision ${message.revision} began before ${first.revision} had ended` };
    }
    if (this.#parts.length >= partsMax) {
      this.#parts = [];
      return { kind: 'mismatch', why: `revision ${message.revision} has more than ${partsMax} messages` };
    }
    this.#parts.push(message);
    if (message.more) return { kind: 'incomplete' };
    const parts = this.#parts;
    this.#parts = [];
    return this.#applyWhole(parts, message);
  }

  #applyWhole(parts: readonly DesiredMessage[], last: DesiredMessage): Applied {
    const isFull = last.from === 0;
    const documents: Document[] = [];
    const problems: Problem[] = [];
    for (const value of parts.flatMap((part) => part.documents)) {
      const parsed = parseDocument(value, {});
      if (parsed.kind === 'ok') documents.push(parsed.document);
      else problems.push(...parsed.problems);
    }
    const documentsRemoved = parts.flatMap((part) => part.documentsRemoved);
    const hasDocuments = isFull || documents.length + documentsRemoved.length > 0;
    if (problems.length > 0) return { kind: 'refused', problems };
    // Conditions are checked by the manager, which evaluates them.
    const options = { checkCondition: () => null };
    const resolved = isFull
      ? createPolicySet(documents, options)
      : changePolicySet(this.#policySet, { set: documents, removed: documentsRemoved }, options);
    if (resolved.kind === 'refused') return resolved;

    const identities = parts.flatMap((part) => part.identities);
    const workloads = parts.flatMap((part) => part.workloads);
    const named = {
      identities: new Set(identities.map(([id]) => id)),
      workloads: new Set(workloads.map((each) => each.workload)),
    };
    const change: DesiredChange = {
      revision: last.revision,
      documents: hasDocuments,
      identitiesSet: [...named.identities],
      identitiesRemoved: isFull
        ? [...this.#identities.keys()].filter((identity) => !named.identities.has(identity))
        : parts.flatMap((part) => part.identitiesRemoved),
      workloadsSet: [...named.workloads],
      workloadsRemoved: isFull
        ? [...this.#workloads.keys()].filter((workload) => !named.workloads.has(workload))
        : parts.flatMap((part) => part.workloadsRemoved),
    };
    const auditHead = last.auditHead ?? this.#auditHead;
    this.#persist(change, { documents, documentsRemoved, isFull, identities, workloads, auditHead });
    this.#policySet = resolved.policySet;
    for (const identity of change.identitiesRemoved) this.#identities.delete(identity);
    for (const [identity, labels] of identities) this.#identities.set(identity, labels);
    for (const workload of change.workloadsRemoved) this.#removeWorkload(workload);
    for (const workload of workloads) this.#setWorkload(workload);
    this.#revision = last.revision;
    this.#auditHead = auditHead;
    return { kind: 'applied', change };
  }

  #persist(
    change: DesiredChange,
    content: {
      readonly documents: readonly Document[];
      readonly documentsRemoved: readonly { readonly kind: string; readonly name: string }[];
      readonly isFull: boolean;
      readonly identities: DesiredMessage['identities'];
      readonly workloads: readonly WorkloadMessage[];
      readonly auditHead: AuditHead | null;
    },
  ): void {
    const { meta, documents, identities, workloads } = this.#records;
    this.#state.transaction(() => {
      if (content.isFull) documents.clear();
      for (const { kind, name } of content.documentsRemoved) documents.delete(`${kind}/${name}`);
      for (const document of content.documents) documents.set(documentKey(document), document);
      for (const identity of change.identitiesRemoved) identities.delete(String(identity));
      for (const [identity, labels] of content.identities) identities.set(String(identity), labels);
      for (const workload of change.workloadsRemoved) workloads.delete(workload);
      for (const workload of content.workloads) workloads.set(workload.workload, workload);
      meta.set('meta', { revision: change.revision, auditHead: content.auditHead });
    }, 'process');
  }

  #setWorkload(message: WorkloadMessage): void {
    this.#removeWorkload(message.workload);
    const known: KnownWorkload = message;
    this.#workloads.set(known.workload, known);
    const named = this.#byName.get(known.name);
    if (named === undefined) this.#byName.set(known.name, new Set([known]));
    else named.add(known);
    for (const address of known.addresses) this.#byAddress.set(address, known);
  }

  #removeWorkload(workload: string): void {
    const known = this.#workloads.get(workload);
    if (known === undefined) return;
    this.#workloads.delete(workload);
    const named = this.#byName.get(known.name);
    named?.delete(known);
    if (named?.size === 0) this.#byName.delete(known.name);
    for (const address of known.addresses) {
      if (this.#byAddress.get(address) === known) this.#byAddress.delete(address);
    }
  }
}

function parseStored(value: unknown): Document {
  const parsed = parseDocument(value, {});
  if (parsed.kind === 'ok') return parsed.document;
  throw new TypeError(parsed.problems.map(({ path, reason }) => `${path} ${reason}`).join('; '));
}
