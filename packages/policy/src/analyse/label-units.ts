import { labelKeyFault, labelValueFault } from '../documents/names.ts';
import { factPrefix, type Labels, namedPortPrefix, namespaceLabel } from '../model.ts';
import { ClassSet } from './class-set.ts';

/** Labels that are another at each start or for each replica: nobody writes rules with them. */
const passingKeys = new Set([
  'pod-template-hash',
  'controller-revision-hash',
  'pod-template-generation',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-name',
  'batch.kubernetes.io/job-completion-index',
  'controller-uid',
  'job-name',
]);
/** A label of which more than this share of the workloads have a value of their own is one of these too, where they are so many. */
const ownValueShare = 0.5;
const workloadsTelling = 20;
/** Kept as long as can be when a selector is shortened, in this order. */
const tellingKeys = [
  namespaceLabel,
  'app.kubernetes.io/name',
  'app',
  'k8s-app',
  'com.docker.compose.service',
  'app.kubernetes.io/component',
];

/** Workloads with the same lasting labels. */
export interface LabelUnit {
  readonly number: number;
  readonly labels: Labels;
}

/** The label sets of all known workloads, cut down to what lasts, and selectors over them. */
export class LabelUnits {
  readonly #lastingKeys: ReadonlySet<string>;
  readonly #units: LabelUnit[] = [];
  readonly #byLabels = new Map<string, LabelUnit>();
  #extensions: Map<string, ClassSet> | null = null;

  constructor(workloads: readonly { readonly labels: Labels; readonly count: number }[]) {
    this.#lastingKeys = lastingKeys(workloads);
    for (const { labels } of workloads) this.unit(labels);
  }

  get size(): number {
    return this.#units.length;
  }

  /** The unit of a workload with these labels. All have to be there before selectors are asked for. */
  unit(labels: Labels): LabelUnit {
    const lasting = Object.fromEntries(
      Object.entries(labels)
        .filter(([key, value]) => this.#lastingKeys.has(key) && isNameable(key, value))
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
    const key = JSON.stringify(lasting);
    let unit = this.#byLabels.get(key);
    if (unit === undefined) {
      unit = { number: this.#units.length, labels: lasting };
      this.#units.push(unit);
      this.#byLabels.set(key, unit);
      this.#extensions = null;
    }
    return unit;
  }

  /** As few labels as select what all of the unit's labels select. */
  selectorOf(unit: LabelUnit): Labels {
    const entries = Object.entries(unit.labels).sort(([a], [b]) => weightOf(a) - weightOf(b) || (a < b ? -1 : 1));
    const wanted = this.#extension(entries).key();
    const kept: (readonly [string, string])[] = [...entries];
    for (const entry of entries) {
      const without = kept.filter((other) => other !== entry);
      if (without.length > 0 && this.#extension(without).key() === wanted) kept.splice(kept.indexOf(entry), 1);
    }
    return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /**
   * Selectors that together select the wanted units: labels that several of them have and nobody but `allowed`, and for each unit that
   * is left its own.
   */
  selectorsOf(wanted: ClassSet, allowed: ClassSet): readonly { readonly selector: Labels; readonly units: ClassSet }[] {
    const selectors: { selector: Labels; units: ClassSet }[] = [];
    let rest = wanted;
    for (const [term, units] of this.#termsInside(wanted, allowed)) {
      if (units.sizeShared(rest) < 2) continue;
      const [key, value] = JSON.parse(term) as [string, string];
      selectors.push({ selector: { [key]: value }, units });
      rest = rest.without(units);
    }
    for (const number of rest) {
      selectors.push({
        selector: this.selectorOf(this.#units[number]!),
        units: ClassSet.of(this.size, [number]),
      });
    }
    return selectors;
  }

  /** Labels that only allowed units have, those of most units first. */
  #termsInside(wanted: ClassSet, allowed: ClassSet): readonly (readonly [string, ClassSet])[] {
    const terms = new Set([...wanted].flatMap((number) => Object.entries(this.#units[number]!.labels).map(termOf)));
    return [...terms]
      .map((term) => [term, this.#all().get(term)!] as const)
      .filter(([, units]) => units.isInside(allowed))
      .sort(([a, x], [b, y]) => y.size - x.size || (a < b ? -1 : 1));
  }

  #extension(entries: readonly (readonly [string, string])[]): ClassSet {
    return entries.map((entry) => this.#all().get(termOf(entry))!).reduce((all, units) => all.shared(units));
  }

  #all(): Map<string, ClassSet> {
    if (this.#extensions !== null) return this.#extensions;
    const extensions = new Map<string, ClassSet>();
    for (const { number, labels } of this.#units) {
      for (const entry of Object.entries(labels)) {
        const term = termOf(entry);
        let units = extensions.get(term);
        if (units === undefined) extensions.set(term, (units = new ClassSet(this.size)));
        units.add(number);
      }
    }
    this.#extensions = extensions;
    return extensions;
  }
}

/** Labels of container engines need not be labels that documents can name. */
function isNameable(key: string, value: string): boolean {
  return labelKeyFault(key) === null && labelValueFault(key, value) === null;
}

function termOf(entry: readonly [string, string]): string {
  return JSON.stringify(entry);
}

/** What is dropped last is heaviest. */
function weightOf(key: string): number {
  const place = tellingKeys.indexOf(key);
  return place < 0 ? 0 : tellingKeys.length - place;
}

function lastingKeys(workloads: readonly { readonly labels: Labels; readonly count: number }[]): Set<string> {
  const values = new Map<string, Set<string>>();
  let total = 0;
  for (const { labels, count } of workloads) {
    total += count;
    for (const [key, value] of Object.entries(labels)) {
      const known = values.get(key);
      if (known === undefined) values.set(key, new Set([value]));
      else known.add(value);
    }
  }
  const lasting = [...values].filter(([key, own]) => {
    if (key.startsWith(factPrefix) || key.startsWith(namedPortPrefix) || passingKeys.has(key)) return false;
    return own.size < workloadsTelling || own.size <= total * ownValueShare;
  });
  return new Set(lasting.map(([key]) => key));
}
