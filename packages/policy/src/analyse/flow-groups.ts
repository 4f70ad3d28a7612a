import { segmentsOfParty } from '../decide/decide.ts';
import { dnsSchema } from '../documents/field-schema.ts';
import type { Party } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import type { Segment } from '../resolve/segment.ts';
import { Classifier } from './classifier.ts';
import type { LabelUnit, LabelUnits } from './label-units.ts';

/** What a rule would call a party of a flow. `nameless`: no rule can mean it alone, and why. */
export type FlowGroup =
  | { readonly kind: 'segment'; readonly segment: string }
  | { readonly kind: 'labels'; readonly unit: LabelUnit }
  | { readonly kind: 'host' }
  | { readonly kind: 'dns'; readonly name: string }
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'nameless'; readonly why: string };

/** Sorts parties of flows into groups, each with a number. */
export class FlowGroups {
  readonly #set: PolicySet;
  readonly #units: LabelUnits;
  readonly #classifier: Classifier;
  readonly #members: ReadonlyMap<string, number>;
  readonly #segmentOfClass: (string | null | undefined)[] = [];
  readonly #groups: FlowGroup[] = [];
  readonly #byKey = new Map<string, number>();

  /** `workloads`: of how many each segment consists is counted in them, since the smallest of several is taken. */
  constructor(
    set: PolicySet,
    units: LabelUnits,
    workloads: readonly { readonly labels: Extract<Party, { kind: 'workload' }>['labels']; readonly count: number }[],
  ) {
    this.#set = set;
    this.#units = units;
    this.#classifier = new Classifier([set]);
    const counts = new Map<string, number>();
    for (const { labels, count } of workloads)
      this.#classifier.classify({ kind: 'workload', labels }, { workloads: count });
    for (const { party, workloads: count } of this.#classifier.classes) {
      for (const { name } of segmentsOfParty(set, party)) counts.set(name, (counts.get(name) ?? 0) + count);
    }
    this.#members = counts;
  }

  get groups(): readonly FlowGroup[] {
    return this.#groups;
  }

  number(party: Party, end: 'source' | 'destination'): number {
    const group = this.#groupOf(party, end);
    const key = keyOf(group);
    let number = this.#byKey.get(key);
    if (number === undefined) {
      number = this.#groups.length;
      this.#groups.push(group);
      this.#byKey.set(key, number);
    }
    return number;
  }

  /** The smallest segment of the party; null where it is in none. */
  segmentOf(party: Party): string | null {
    const { index } = this.#classifier.classify(party);
    return (this.#segmentOfClass[index] ??= this.#smallest(segmentsOfParty(this.#set, party)));
  }

  #smallest(segments: readonly Segment[]): string | null {
    const sizes = segments.map(({ name }) => ({ name, size: this.#members.get(name) ?? 0 }));
    return sizes.sort((a, b) => a.size - b.size)[0]?.name ?? null;
  }

  #groupOf(party: Party, end: 'source' | 'destination'): FlowGroup {
    switch (party.kind) {
      case 'unknown':
        return { kind: 'nameless', why: 'the labels of one side were not known' };
      case 'address': {
        const names = end === 'destination' ? (party.names ?? []) : [];
        const name = names.find((known) => dnsSchema.safeParse(known).success);
        return name === undefined ? { kind: 'address', address: party.address } : { kind: 'dns', name };
      }
      case 'host': {
        const segment = this.segmentOf(party);
        return segment === null ? { kind: 'host' } : { kind: 'segment', segment };
      }
      case 'workload': {
        const segment = this.segmentOf(party);
        if (segment !== null) return { kind: 'segment', segment };
        const unit = this.#units.unit(party.labels);
        if (Object.keys(unit.labels).length > 0) return { kind: 'labels', unit };
        return { kind: 'nameless', why: 'a workload is in no segment and has no label that a rule could name' };
      }
    }
  }
}

function keyOf(group: FlowGroup): string {
  switch (group.kind) {
    case 'segment':
      return `segment ${group.segment}`;
    case 'labels':
      return `labels ${group.unit.number}`;
    case 'host':
      return 'host';
    case 'dns':
      return `dns ${group.name}`;
    case 'address':
      return `address ${group.address}`;
    case 'nameless':
      return `nameless ${group.why}`;
  }
}
