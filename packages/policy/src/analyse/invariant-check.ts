import { isSubject, segmentsOfParty } from '../decide/decide.ts';
import type { Invariant } from '../resolve/invariant.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import { type Claimed, denialStatements, permissionStatements } from './argument.ts';
import type { ClassSet } from './class-set.ts';
import {
  type InvariantOutcome,
  type InvariantReport,
  type InvariantResult,
  type Statement,
  statementsMax,
  type WitnessHop,
} from './invariant.ts';
import { nameOf, namesOfHop } from './party-name.ts';
import { PartyRelations } from './party-relations.ts';
import { actionOf } from './pair-verdicts.ts';
import {
  canonicalPortSet,
  everyPort,
  isNoPort,
  onePort,
  type PortSet,
  portSetShared,
  portSetWithout,
  verdictIn,
} from './port-set.ts';
import { type Reach, searchReach, type Step } from './reach.ts';
import { partySetText, workloadsText } from './terms-text.ts';
import { classesMax, type Universe } from './universe.ts';

/** Every invariant of the set over the universe. */
export function checkInvariants(set: PolicySet, universe: Universe): InvariantReport {
  const { invariants, relations } = relationsOf(set, universe);
  const results = invariants.map((invariant) => new InvariantCheck(relations, invariant).result());
  return { results, universe: relations.summary };
}

/** A rule that an invariant breaks by. */
export interface Culprit {
  readonly reason: string;
  readonly invariant: string;
}

/**
 * Rules without which no `never` and no `neverReaches` breaks, as far as that is up to rules with a weight: of the rules of each
 * witness the lightest, again and again. What another rule allows instead shows when these are gone.
 */
export function culprits(
  set: PolicySet,
  universe: Universe,
  weightOf: (reason: string) => number | undefined,
): readonly Culprit[] {
  const { invariants, relations } = relationsOf(set, universe);
  const found: Culprit[] = [];
  for (const invariant of invariants) {
    if (invariant.claim === 'always' || relations.tooManyClasses !== null) continue;
    const check = new InvariantCheck(relations, invariant);
    for (;;) {
      const weighed = check.reasonsOfWitness().flatMap((reason) => {
        const weight = weightOf(reason);
        return weight === undefined ? [] : [{ reason, weight }];
      });
      const [lightest] = weighed.sort((a, b) => a.weight - b.weight);
      if (lightest === undefined) break;
      found.push({ reason: lightest.reason, invariant: invariant.name });
      relations.exclude(lightest.reason);
    }
  }
  return found;
}

function relationsOf(
  set: PolicySet,
  universe: Universe,
): { readonly invariants: readonly Invariant[]; readonly relations: PartyRelations } {
  const invariants = [...set.invariants.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const ends = invariants.flatMap(({ from, to }) => [from, to]);
  const paths = invariants.some(({ claim }) => claim === 'neverReaches');
  return { invariants, relations: new PartyRelations(set, universe, ends, { paths }) };
}

class InvariantCheck {
  readonly #relations: PartyRelations;
  readonly #invariant: Invariant;
  readonly #from: ClassSet;
  readonly #to: ClassSet;

  constructor(relations: PartyRelations, invariant: Invariant) {
    this.#relations = relations;
    this.#invariant = invariant;
    this.#from = relations.end(invariant.from);
    this.#to = relations.end(invariant.to);
  }

  result(): InvariantResult {
    const { name, claim } = this.#invariant;
    const [from, to] = [this.#from, this.#to].map((end) => this.#relations.describer.describe(end));
    return {
      name,
      invariant: claim,
      outcome: this.#outcome(),
      from: from!,
      to: to!,
      ports: this.#ports(),
      checked: this.#checked(),
    };
  }

  #outcome(): InvariantOutcome {
    const classes = this.#relations.tooManyClasses;
    if (classes !== null) {
      return {
        kind: 'not-checked',
        why: `the parties are of ${classes} classes, and at most ${classesMax} are taken on`,
      };
    }
    switch (this.#invariant.claim) {
      case 'never':
        return this.#never();
      case 'always':
        return this.#always();
      case 'neverReaches':
        return this.#neverReaches();
    }
  }

  #never(): InvariantOutcome {
    const steps = this.#permittedPair();
    return steps.length === 0 ? this.#holds(denialStatements(this.#relations, this.#pairs())) : this.#broken(steps);
  }

  #always(): InvariantOutcome {
    const broken = this.#firstPair((pair, ports) => portSetWithout(ports, this.#relations.facts(pair).allowed));
    return broken === null ? this.#holds(permissionStatements(this.#relations, this.#pairs())) : this.#broken([broken]);
  }

  #neverReaches(): InvariantOutcome {
    const relations = this.#relations;
    const relays = this.#relays();
    const portsAt = (destination: number): PortSet => relations.portsAt(this.#invariant, destination);
    const reach = this.#reach(relays);
    if (reach.kind === 'path') return this.#broken(reach.steps);
    const { reachable } = reach;
    const outside = relays.without(reachable);
    const claims = [
      ...claimsOf(reachable, outside, () => everyPort),
      ...claimsOf(reachable, this.#to.without(outside), portsAt),
    ];
    const parties = relations.describer.describe(reachable);
    return this.#holds([{ kind: 'reachable', parties }, ...denialStatements(relations, claims)]);
  }

  #reach(relays: ClassSet): Reach {
    const portsAt = (destination: number): PortSet => this.#relations.portsAt(this.#invariant, destination);
    return searchReach(this.#relations, { from: this.#from, to: this.#to, relays, portsAt });
  }

  /** What permits the connections of a witness; none where there is no witness. */
  reasonsOfWitness(): readonly string[] {
    const steps = this.#invariant.claim === 'neverReaches' ? this.#stepsToEnd() : this.#permittedPair();
    return steps.flatMap((step) => {
      const { egressReason, ingressReason } = this.#hop(step);
      return [egressReason, ingressReason];
    });
  }

  #stepsToEnd(): readonly Step[] {
    const reach = this.#reach(this.#relays());
    return reach.kind === 'path' ? reach.steps : [];
  }

  #permittedPair(): readonly Step[] {
    const pair = this.#firstPair((tables, ports) => portSetShared(this.#relations.facts(tables).permitted, ports));
    return pair === null ? [] : [pair];
  }

  /** Who is judged may stand in the middle: workloads that exist, and hosts in segments. Outside a path begins or ends. */
  #relays(): ClassSet {
    const { classes, set } = this.#relations;
    return this.#relations.classSet(
      classes.filter(({ party, hypothetical }) => !hypothetical && isSubject(party, segmentsOfParty(set, party))),
    );
  }

  *#pairs(): Generator<Claimed> {
    yield* claimsOf(this.#from, this.#to, (destination) => this.#relations.portsAt(this.#invariant, destination));
  }

  /** The first pair where the invariant fails on some ports. */
  #firstPair(failing: (pair: ReturnType<PartyRelations['pair']>, ports: PortSet) => PortSet): Step | null {
    for (const { from, to, ports } of this.#pairs()) {
      const failed = failing(this.#relations.pair(from, to), ports);
      if (!isNoPort(failed)) return { from, to, ports: failed };
    }
    return null;
  }

  #holds(argument: readonly Statement[]): InvariantOutcome {
    const omitted = Math.max(0, argument.length - statementsMax);
    return { kind: 'holds', argument: argument.slice(0, statementsMax), omitted };
  }

  #broken(steps: readonly Step[]): InvariantOutcome {
    return { kind: 'broken', witness: steps.map((step) => this.#hop(step)) };
  }

  #hop({ from, to, ports }: Step): WitnessHop {
    const { classes } = this.#relations;
    const tables = this.#relations.pair(from, to);
    const { protocol, port } = onePort(ports);
    const sides = [verdictIn(tables.egress, protocol, port), verdictIn(tables.ingress, protocol, port)] as const;
    return {
      ...namesOfHop(classes[from]!, classes[to]!),
      protocol,
      port,
      verdict: actionOf(sides),
      egressReason: reasonText(sides[0].reason),
      ingressReason: reasonText(sides[1].reason),
    };
  }

  #ports(): PortSet {
    const { ports } = this.#invariant;
    if (ports === null) return everyPort;
    const resolved = [...this.#to].flatMap((end) => this.#relations.portsAt(this.#invariant, end).spans);
    return canonicalPortSet([...ports, ...resolved], null);
  }

  #checked(): string {
    const text = (end: ClassSet, what: string): string => {
      if (end.size === 0) return `nothing can be at the end "${what}", so it holds of nobody`;
      const described = this.#relations.describer.describe(end);
      if (!described.hypothetical) return `${what}: ${partySetText(described)} (${workloadsText(described.workloads)})`;
      const [first] = end;
      return `${what}: nobody now, so it was looked at for ${nameOf(this.#relations.classes[first!]!).name}`;
    };
    return `${text(this.#from, 'from')}; ${text(this.#to, 'to')}`;
  }
}

function* claimsOf(from: ClassSet, to: ClassSet, portsAt: (destination: number) => PortSet): Generator<Claimed> {
  for (const destination of to) {
    const ports = portsAt(destination);
    for (const source of from) yield { from: source, to: destination, ports };
  }
}
