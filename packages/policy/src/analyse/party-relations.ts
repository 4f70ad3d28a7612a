import { peersMatch } from '../decide/decide.ts';
import type { SideVerdict } from '../model.ts';
import type { Peers } from '../resolve/peers.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import { namedPortSpans, type RulePorts } from '../resolve/ports.ts';
import { ClassSet } from './class-set.ts';
import type { PartyClass } from './classifier.ts';
import { Describer } from './describe.ts';
import { PairJudge } from './pair-judge.ts';
import { actionOf, type PairTables, PairVerdicts } from './pair-verdicts.ts';
import { canonicalPortSet, everyPort, type Pieces, piecesOf, type PortSet, portsWhere } from './port-set.ts';
import { universeClasses, type UniverseClasses } from './universe-classes.ts';
import { classesMax, type Universe } from './universe.ts';

/** What the functions of one pair of classes come to. */
export interface PairFacts {
  readonly pieces: Pieces;
  /** Every reason in the pieces. */
  readonly reasons: ReadonlySet<string>;
  /** Ports that are allowed, and those that are allowed or asked about. */
  readonly allowed: PortSet;
  readonly permitted: PortSet;
}

/** A policy set over the classes of a universe, with what follows from each pair of functions once. */
export class PartyRelations {
  readonly set: PolicySet;
  readonly classes: readonly PartyClass[];
  readonly summary: UniverseClasses['summary'];
  readonly describer: Describer;
  readonly #verdicts: PairVerdicts;
  readonly #asked: ClassSet;
  readonly #excluded = new Set<string>();
  readonly #facts: (PairFacts | undefined)[] = [];
  /** By class: numbers of pairs, one more than they are; 0 is not known yet. */
  readonly #rows: (Int32Array | undefined)[] = [];
  readonly #pairs: PairTables[] = [];

  /**
   * `ends`: what pairs are asked about. Addresses outside count where they are at one of them. With `paths`, pairs of everybody known
   * are asked about too.
   */
  constructor(set: PolicySet, universe: Universe, ends: readonly Peers[], { paths }: { readonly paths: boolean }) {
    const { classes, summary, omitted } = universeClasses([set], universe, ends, (party) =>
      ends.some((end) => peersMatch(set, end, party)),
    );
    this.set = set;
    this.classes = classes;
    this.summary = summary;
    this.describer = new Describer([set], classes, omitted);
    const asked = this.classSet(classes.filter(({ hypothetical }) => paths && !hypothetical));
    this.#asked = ends.reduce((all, end) => all.joined(this.end(end)), asked);
    const judge = new PairJudge(set, classes);
    // Of more classes nothing is asked, and making their tables would take as long as asking.
    if (this.tooManyClasses === null) judge.prepare(this.#asked);
    this.#verdicts = new PairVerdicts(judge);
  }

  /** How many classes pairs would be asked about, where these are more than are taken on. */
  get tooManyClasses(): number | null {
    return this.#asked.size > classesMax ? this.#asked.size : null;
  }

  /** Looked up by place, since searches ask for the same pairs again and again. */
  pair(from: number, to: number): PairTables {
    const row = (this.#rows[from] ??= new Int32Array(this.classes.length));
    const known = row[to]!;
    if (known > 0) return this.#pairs[known - 1]!;
    const pair = this.#verdicts.pair(from, to);
    this.#pairs[pair.number] = pair;
    row[to] = pair.number + 1;
    return pair;
  }

  facts(pair: PairTables): PairFacts {
    return (this.#facts[pair.number] ??= factsOf(pair, this.#excluded));
  }

  /** From now on nothing counts as permitted by a rule of this name. */
  exclude(reason: string): void {
    this.#excluded.add(reason);
    for (const [number, facts] of this.#facts.entries()) {
      if (facts !== undefined && facts.reasons.has(reason)) this.#facts[number] = undefined;
    }
  }

  /** The classes at one end: of what is known, or where nothing known is there of what could be. */
  end(peers: Peers): ClassSet {
    const matching = this.classes.filter(({ party }) => peersMatch(this.set, peers, party));
    const known = matching.filter(({ hypothetical }) => !hypothetical);
    return this.classSet(known.length > 0 ? known : matching);
  }

  classSet(classes: readonly PartyClass[]): ClassSet {
    return ClassSet.of(
      this.classes.length,
      classes.map(({ index }) => index),
    );
  }

  /** The ports at that destination: named ones are the destination's own. */
  portsAt({ ports, namedPorts }: RulePorts, destination: number): PortSet {
    if (ports === null) return everyPort;
    const { party } = this.classes[destination]!;
    const named = party.kind === 'workload' ? namedPorts.flatMap((port) => namedPortSpans(party.labels, port)) : [];
    return canonicalPortSet([...ports, ...named], null);
  }
}

function factsOf({ egress, ingress }: PairTables, excluded: ReadonlySet<string>): PairFacts {
  const pieces = piecesOf([egress, ingress]);
  const counts = ({ reason }: SideVerdict): boolean => excluded.size === 0 || !excluded.has(reasonText(reason));
  const where = (...actions: readonly string[]): PortSet =>
    portsWhere(pieces, (sides: readonly SideVerdict[]) => actions.includes(actionOf(sides)) && sides.every(counts));
  const sides = [...pieces.pieces.flatMap(({ verdicts }) => verdicts), ...pieces.rest];
  const reasons = new Set(sides.map(({ reason }) => reasonText(reason)));
  return { pieces, reasons, allowed: where('allow'), permitted: where('allow', 'ask') };
}
