import type { Labels } from '../model.ts';
import { labelOf, type Selector } from '../select/selector.ts';
import { FewSet } from './few-set.ts';

/** A label as text: `key`, or `key=value`. */
export type Term = string;

export function* labelTerms(labels: Labels): Generator<Term> {
  for (const key of Object.keys(labels)) {
    yield key;
    yield `${key}=${labelOf(labels, key)}`;
  }
}

/** For each part of the selector that demands a label: the terms that would satisfy it. */
export function demandedTerms(selector: Selector): readonly (readonly Term[])[] {
  const terms: (readonly Term[])[] = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => [
    `${key}=${value}`,
  ]);
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    if (operator === 'In') terms.push([...new Set(values)].map((value) => `${key}=${value}`));
    else if (operator === 'Exists') terms.push([key]);
  }
  return terms;
}

/** Things under terms. What stands under null is found whatever is looked for. */
export class TermIndex<Item extends object> {
  readonly #byTerm = new Map<Term, FewSet<Item>>();
  readonly #everywhere = new Set<Item>();

  get isEmpty(): boolean {
    return this.#byTerm.size === 0 && this.#everywhere.size === 0;
  }

  add(item: Item, terms: Iterable<Term> | null): void {
    if (terms === null) {
      this.#everywhere.add(item);
      return;
    }
    for (const term of terms) {
      const items = this.#byTerm.get(term);
      if (items !== undefined) {
        items.add(item);
        continue;
      }
      const first = new FewSet<Item>();
      first.add(item);
      this.#byTerm.set(term, first);
    }
  }

  delete(item: Item, terms: Iterable<Term> | null): void {
    if (terms === null) {
      this.#everywhere.delete(item);
      return;
    }
    for (const term of terms) {
      const items = this.#byTerm.get(term);
      items?.delete(item);
      if (items?.size === 0) this.#byTerm.delete(term);
    }
  }

  count(term: Term): number {
    return this.#byTerm.get(term)?.size ?? 0;
  }

  under(term: Term): Iterable<Item> {
    return this.#byTerm.get(term) ?? [];
  }

  /** Each thing under any of the terms; one may come twice. */
  *underAny(terms: Iterable<Term>): Generator<Item> {
    yield* this.#everywhere;
    for (const term of terms) yield* this.#byTerm.get(term) ?? [];
  }
}

/**
 * Of the alternatives of which one must be met, that under which the fewest pairs of selector and selected would have to be looked at;
 * null where nothing is demanded.
 */
export function fewestPairs(
  alternatives: readonly (readonly Term[])[],
  selected: TermIndex<object>,
  selectors: TermIndex<object>,
): readonly Term[] | null {
  let best: readonly Term[] | null = null;
  let bestPairs = Number.POSITIVE_INFINITY;
  for (const terms of alternatives) {
    let pairs = 0;
    for (const term of terms) pairs += (selected.count(term) + 1) * (selectors.count(term) + 1);
    if (pairs >= bestPairs) continue;
    best = terms;
    bestPairs = pairs;
  }
  return best;
}
