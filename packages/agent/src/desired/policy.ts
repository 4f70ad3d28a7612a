/** Compiled policy for the identities of this host, as contents of rulesets: kept up to date row by row. */
import type { KernelVerdict } from '@bulkhead/kernel';
import {
  type CompiledDirection,
  type Compiler,
  type CompilerUpdate,
  createCompiler,
  type DirectionChange,
  type IdentityId,
  type Labels,
  type Learnt,
  type PortTable,
  reservedIdentity,
  type SideVerdict,
} from '@bulkhead/policy';
import type { RulesetContent } from '../plan/model.ts';
import type { KernelTable, TableStore } from '../plan/tables.ts';
import type { RuleNumbers } from './rule-numbers.ts';
import type { DesiredChange, DesiredStore } from './store.ts';

interface MutableContent {
  readonly egress: Map<number, KernelTable>;
  readonly ingress: Map<number, KernelTable>;
}

export class LocalPolicy {
  readonly #store: DesiredStore;
  readonly #rules: RuleNumbers;
  readonly #tables: TableStore;
  readonly #compiler: Compiler = createCompiler();
  readonly #contents = new Map<number, MutableContent>();
  readonly #kernelTables = new WeakMap<PortTable, KernelTable>();
  /** What endpoints learnt, as the compiler holds it; by endpoint and address. */
  readonly #learnt = new Map<string, { readonly names: readonly string[]; readonly learnt: Learnt }>();
  #cidrs: ReadonlyMap<string, number> = new Map();

  /** `host`: what is known of this machine. */
  constructor(store: DesiredStore, rules: RuleNumbers, tables: TableStore, host: Labels) {
    this.#store = store;
    this.#rules = rules;
    this.#tables = tables;
    const identities = { set: identityEntries(store) };
    this.#take(this.#compiler.update({ policySet: store.policySet, identities, host }));
  }

  /** The store took a revision. */
  changed(change: DesiredChange): void {
    const set = change.identitiesSet.map((id) => [id as IdentityId, this.#store.identities.get(id)!] as const);
    const removed = change.identitiesRemoved as readonly IdentityId[];
    this.#take(this.#compiler.update({ policySet: this.#store.policySet, identities: { set, removed } }));
  }

  /** Something else is known of this machine. */
  setHost(host: Labels): void {
    this.#take(this.#compiler.update({ host }));
  }

  /** Tables for exactly these identities from now on; those that are not known have none. */
  want(identities: ReadonlySet<number>): void {
    const isKnown = (id: number): boolean => id === reservedIdentity.host || this.#store.identities.has(id);
    const added = [...identities].filter((id) => !this.#contents.has(id) && isKnown(id));
    const removed = [...this.#contents.keys()].filter((id) => !identities.has(id));
    if (added.length + removed.length === 0) return;
    const subjects = { added: added as IdentityId[], removed: removed as IdentityId[] };
    this.#take(this.#compiler.update({ subjects }));
  }

  /** The same object until something of it changes. */
  content(identity: number): RulesetContent | undefined {
    return this.#contents.get(identity);
  }

  /** Rules name addresses by the names that workloads learn for them. */
  get usesNames(): boolean {
    return this.#compiler.asksFor();
  }

  /** What was learnt by names counts for this identity. Without it there are no rows for learnt peers, and `others` would speak for them. */
  learns(identity: number): boolean {
    return this.#compiler.subject(identity as IdentityId)?.learns === true;
  }

  /** Rules name addresses by one of these names. */
  asksFor(names: readonly string[]): boolean {
    return this.#compiler.asksFor(names);
  }

  /**
   * The peer that an address outside is to the endpoint that learnt it (`key`) by these names; null where no rule asks for any of them.
   * Rows of a peer that nobody had before are in the contents at once. The same list of names is another only where its object is.
   */
  learntPeer(key: string, { address, names }: Pick<Learnt, 'address' | 'names'>): number | null {
    const known = this.#learnt.get(key);
    if (known?.names === names) return known.learnt.peer;
    const { learnt, update } = this.#compiler.learn([{ address, names }]);
    this.#take(update);
    if (known !== undefined) this.#take(this.#compiler.forget([known.learnt]));
    this.#learnt.set(key, { names, learnt: learnt[0]! });
    return learnt[0]!.peer;
  }

  /** Whoever learnt something knows it no more, but for these keys. */
  keepLearnt(keys: ReadonlySet<string>): void {
    const gone = [...this.#learnt].filter(([key]) => !keys.has(key));
    if (gone.length === 0) return;
    for (const [key] of gone) this.#learnt.delete(key);
    this.#take(this.#compiler.forget(gone.map(([, { learnt }]) => learnt)));
  }

  contents(): Iterable<RulesetContent> {
    return this.#contents.values();
  }

  cidrs(): ReadonlyMap<string, number> {
    return this.#cidrs;
  }

  sizes(): ReturnType<Compiler['sizes']> {
    return this.#compiler.sizes();
  }

  #take(update: CompilerUpdate): void {
    for (const change of update.subjects) {
      const known = this.#contents.get(change.identity);
      if (change.kind === 'removed') this.#contents.delete(change.identity);
      else if (change.kind === 'added' || known === undefined) {
        const { egress, ingress } = change.compiled;
        this.#contents.set(change.identity, { egress: this.#rowsOf(egress), ingress: this.#rowsOf(ingress) });
      } else {
        this.#amend(known.egress, change.egress);
        this.#amend(known.ingress, change.ingress);
        // Another object for another content: what was planned from the former one compared its rows already.
        this.#contents.set(change.identity, { ...known });
      }
    }
    if (update.cidrs.added.length + update.cidrs.removed.length > 0) {
      this.#cidrs = new Map(this.#compiler.cidrs().map(({ cidr, peer }) => [cidr, peer]));
    }
  }

  #rowsOf({ rows, others }: CompiledDirection): Map<number, KernelTable> {
    const result = new Map<number, KernelTable>([[reservedIdentity.any, this.#table(others)]]);
    for (const [peer, table] of rows) result.set(peer, this.#table(table));
    return result;
  }

  #amend(rows: Map<number, KernelTable>, { rows: changes, others }: DirectionChange): void {
    if (others !== null) rows.set(reservedIdentity.any, this.#table(others.after));
    for (const { peer, after } of changes) {
      if (after === null) rows.delete(peer);
      else rows.set(peer, this.#table(after));
    }
  }

  #verdict(verdict: SideVerdict): KernelVerdict {
    const { action, live } = verdict;
    const rule = this.#rules.numberOf(verdict);
    return live === undefined ? { action, rule } : { action, rule, live };
  }

  #table(table: PortTable): KernelTable {
    const known = this.#kernelTables.get(table);
    if (known !== undefined) return known;
    const made = this.#tables.intern({
      ranges: table.ranges.map(({ protocol, from, to, verdict }) => ({
        protocol,
        from,
        to,
        verdict: this.#verdict(verdict),
      })),
      otherwise: this.#verdict(table.otherwise),
    });
    this.#kernelTables.set(table, made);
    return made;
  }
}

function* identityEntries(store: DesiredStore): Generator<readonly [IdentityId, Readonly<Record<string, string>>]> {
  for (const [identity, labels] of store.identities) yield [identity as IdentityId, labels];
}
