import type { Labels } from '../model.ts';
import { namespaceNameLabel, type Namespaces } from '../resolve/namespace.ts';
import { type Selector, selectorKey, selectorMatches } from '../select/selector.ts';
import { FewSet } from './few-set.ts';
import { demandedTerms, fewestPairs, labelTerms, type Term, TermIndex } from './term-index.ts';

/** The namespaces that a selector selects, and the groups whose pods are in them. */
export interface Scope<Item extends object> {
  readonly key: string;
  readonly selector: Selector;
  /** Where it stands among the scopes. */
  readonly terms: readonly Term[] | null;
  readonly names: Set<string>;
  readonly groups: TermIndex<Item>;
}

interface Namespace {
  readonly name: string;
  labels: Labels;
  readonly scopes: FewSet<Scope<object>>;
  /** How many workloads are in it. */
  workloads: number;
}

/** Told where a scope got or lost a namespace. */
export type ScopeListener<Item extends object> = (scope: Scope<Item>, namespace: string) => void;

/** Kubernetes namespaces that have a document or workloads, and the selectors in use that select among them. */
export class NamespaceScopes<Item extends object> {
  readonly #namespaces = new Map<string, Namespace>();
  /** Null until some selector demands a label: many clusters name namespaces by their names alone. */
  #byTerm: TermIndex<Namespace> | null = null;
  readonly #scopes = new Map<string, Scope<Item>>();
  readonly #scopesByTerm = new TermIndex<Scope<Item>>();
  readonly #listener: ScopeListener<Item>;
  #documents: Namespaces = new Map();

  constructor(listener: ScopeListener<Item>) {
    this.#listener = listener;
  }

  /** A workload came into the namespace. */
  enter(name: string): void {
    const known = this.#namespaces.get(name);
    if (known === undefined) this.#add(name).workloads = 1;
    else known.workloads++;
  }

  leave(name: string): void {
    const namespace = this.#namespaces.get(name);
    if (namespace === undefined) throw new Error(`a workload leaves the namespace ${name}, which is not known`);
    namespace.workloads--;
    this.#dropUnused(namespace);
  }

  /** The labels of these namespaces may be other ones now. */
  redefine(documents: Namespaces, changed: Iterable<string>): void {
    this.#documents = documents;
    for (const name of changed) {
      const known = this.#namespaces.get(name);
      if (known !== undefined) {
        this.#relabel(known);
        this.#dropUnused(known);
      } else if (documents.has(name)) {
        this.#add(name);
      }
    }
  }

  /** The scopes that the namespace is in. */
  scopesOf(name: string): Iterable<Scope<Item>> {
    return (this.#namespaces.get(name)?.scopes ?? none) as Iterable<Scope<Item>>;
  }

  /** The scope of the selector, made where there is none. */
  scope(selector: Selector): Scope<Item> {
    const key = selectorKey(selector);
    let scope = this.#scopes.get(key);
    if (scope !== undefined) return scope;
    const terms = fewestPairs(demandedTerms(selector), this.#index(), this.#scopesByTerm);
    scope = { key, selector, terms, names: new Set(), groups: new TermIndex() };
    this.#scopes.set(key, scope);
    this.#scopesByTerm.add(scope, terms);
    for (const namespace of terms === null ? this.#namespaces.values() : this.#index().underAny(terms)) {
      if (!selectorMatches(selector, namespace.labels)) continue;
      scope.names.add(namespace.name);
      namespace.scopes.add(scope);
    }
    return scope;
  }

  /** To be called when a scope has lost a group. */
  release(scope: Scope<Item>): void {
    if (!scope.groups.isEmpty) return;
    this.#scopes.delete(scope.key);
    this.#scopesByTerm.delete(scope, scope.terms);
    for (const name of scope.names) this.#namespaces.get(name)?.scopes.delete(scope);
  }

  #index(): TermIndex<Namespace> {
    if (this.#byTerm === null) {
      this.#byTerm = new TermIndex();
      for (const namespace of this.#namespaces.values()) this.#byTerm.add(namespace, labelTerms(namespace.labels));
    }
    return this.#byTerm;
  }

  #add(name: string): Namespace {
    const namespace: Namespace = { name, labels: this.#labelsOf(name), scopes: new FewSet(), workloads: 0 };
    this.#namespaces.set(name, namespace);
    this.#byTerm?.add(namespace, labelTerms(namespace.labels));
    if (this.#scopes.size === 0) return namespace;
    // No workload is in it yet, so that nobody needs to be told.
    for (const scope of this.#scopesByTerm.underAny(labelTerms(namespace.labels))) {
      if (!selectorMatches(scope.selector, namespace.labels)) continue;
      scope.names.add(name);
      namespace.scopes.add(scope);
    }
    return namespace;
  }

  #relabel(namespace: Namespace): void {
    this.#byTerm?.delete(namespace, labelTerms(namespace.labels));
    namespace.labels = this.#labelsOf(namespace.name);
    this.#byTerm?.add(namespace, labelTerms(namespace.labels));
    const after = new Set<Scope<Item>>();
    for (const scope of this.#scopesByTerm.underAny(labelTerms(namespace.labels)))
      if (selectorMatches(scope.selector, namespace.labels)) after.add(scope);
    for (const scope of namespace.scopes as Iterable<Scope<Item>>) {
      if (after.has(scope)) continue;
      scope.names.delete(namespace.name);
      namespace.scopes.delete(scope);
      this.#listener(scope, namespace.name);
    }
    for (const scope of after) {
      if (namespace.scopes.has(scope)) continue;
      scope.names.add(namespace.name);
      namespace.scopes.add(scope);
      this.#listener(scope, namespace.name);
    }
  }

  #dropUnused(namespace: Namespace): void {
    if (namespace.workloads > 0 || this.#documents.has(namespace.name)) return;
    this.#namespaces.delete(namespace.name);
    this.#byTerm?.delete(namespace, labelTerms(namespace.labels));
    for (const scope of namespace.scopes) scope.names.delete(namespace.name);
  }

  #labelsOf(name: string): Labels {
    return this.#documents.get(name) ?? { [namespaceNameLabel]: name };
  }
}

const none: readonly never[] = [];
