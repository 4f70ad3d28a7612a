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
  readonly #excluded = new Set<string>();
  #facts: PairFacts[] = [];

  /** `also`: ends that are asked about beside those of the rules. */
  constructor(set: PolicySet, universe: Universe, also: readonly Peers[]) {
    const { classes, summary } = universeClasses([set], universe, also);
    this.set = set;
    this.classes = classes;
    this.summary = summary;
    this.describer = new Describer([set], classes);
    const judge = new PairJudge(set, classes);
    // Of more classes nothing is asked, and making their tables would take as long as asking.
    if (classes.length <= classesMax) judge.prepare();
    this.#verdicts = new PairVerdicts(judge);
  }

  pair(from: number, to: number): PairTables {
    return this.#verdicts.pair(from, to);
  }

  facts(pair: PairTables): PairFacts {
    return (this.#facts[pair.number] ??= factsOf(pair, this.#excluded));
  }

  /** From now on nothing counts as permitted by a rule of this name. */
  exclude(reason: string): void {
    this.#excluded.add(reason);
    this.#facts = [];
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
  return { pieces, allowed: where('allow'), permitted: where('allow', 'ask') };
}
