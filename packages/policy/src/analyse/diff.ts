import type { Action, PortTable, SideVerdict } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import { type ChangedPairs, changedPairs } from './changed-pairs.ts';
import { ClassSet } from './class-set.ts';
import type { PartyClass } from './classifier.ts';
import { Describer } from './describe.ts';
import {
  type DifferenceGroup,
  type DifferenceKind,
  groupsMax,
  pairsSearchedMax,
  type PolicyDifference,
  reasonsMax,
} from './difference.ts';
import { PairJudge } from './pair-judge.ts';
import { actionOf } from './pair-verdicts.ts';
import { type Pieces, piecesOf, type PortSet, portSetHas, portsWhere } from './port-set.ts';
import { type Rectangle, Relation } from './rectangles.ts';
import { type TableShape, TableShapes } from './table-shapes.ts';
import { universeClasses } from './universe-classes.ts';
import { classesMax, type Universe } from './universe.ts';

/** What the second policy set allows, denies and asks otherwise than the first, exactly, over the universe. */
export function diffPolicies(before: PolicySet, after: PolicySet, universe: Universe): PolicyDifference {
  const { classes, summary } = universeClasses([before, after], universe);
  const changed = changedPairs(before, after, classes);
  const pairs = changed === null ? classes.length ** 2 : pairsIn(changed);
  if (pairs > classesMax ** 2) return { kind: 'too-large', classes: classes.length, classesMax, pairs };
  const comparison = new Comparison(before, after, classes, changed);
  const found = comparison.compare();
  const describer = new Describer([before, after], classes);
  const areas = found.parts.flatMap((part) => part.relation.rectangles().map((rectangle) => ({ part, rectangle })));
  areas.sort((a, b) => weightOf(a.part, a.rectangle) - weightOf(b.part, b.rectangle));
  const groups = areas
    .slice(0, groupsMax)
    .map(({ part, rectangle }) => comparison.group(part, rectangle, describer))
    .sort(byImportance);
  return {
    kind: 'difference',
    groups,
    omitted: areas.length - groups.length,
    pairsChanged: found.pairsChanged,
    pairs: classes.length ** 2,
    pairsReasonOnly: found.pairsReasonOnly,
    universe: summary,
  };
}

function pairsIn(changed: ChangedPairs): number {
  return changed.values().reduce((sum, to) => sum + to.size, 0);
}

/** Everybody at an end of one of the pairs. */
function classesIn(changed: ChangedPairs, classes: number): ClassSet {
  const sources = ClassSet.of(classes, changed.keys());
  return [...new Set(changed.values())].reduce((all, destinations) => all.joined(destinations), sources);
}

/** Ports on which the verdict goes from one action to another, and the pairs for which it does. */
interface Part {
  readonly before: Action;
  readonly after: Action;
  readonly ports: PortSet;
  readonly relation: Relation;
}

/** The functions of a pair: egress and ingress of before, then of after. */
type PairFunctions = readonly [PortTable, PortTable, PortTable, PortTable];

class Comparison {
  readonly #size: number;
  readonly #changed: ChangedPairs | null;
  readonly #before: PairJudge;
  readonly #after: PairJudge;
  readonly #shapes = new TableShapes();
  /** By the actions of the four functions. */
  readonly #changes = new Map<string, readonly Part[]>();
  readonly #parts = new Map<string, Part>();

  /** Looks at these pairs, or at all. */
  constructor(before: PolicySet, after: PolicySet, classes: readonly PartyClass[], changed: ChangedPairs | null) {
    this.#size = classes.length;
    this.#changed = changed;
    this.#before = new PairJudge(before, classes);
    this.#after = new PairJudge(after, classes);
    const asked = changed === null ? null : classesIn(changed, classes.length);
    this.#before.prepare(asked);
    this.#after.prepare(asked);
  }

  compare(): { parts: readonly Part[]; pairsChanged: number; pairsReasonOnly: number } {
    const everybody = Array.from({ length: this.#size }, (_, index) => index);
    let [pairsChanged, pairsReasonOnly] = [0, 0];
    for (let from = 0; from < this.#size; from++) {
      for (const to of this.#changed === null ? everybody : (this.#changed.get(from) ?? [])) {
        const functions = this.#functions(from, to);
        const shapes = functions.map((table) => this.#shapes.shape(table)) as [
          TableShape,
          TableShape,
          TableShape,
          TableShape,
        ];
        if (shapes[0].content === shapes[2].content && shapes[1].content === shapes[3].content) continue;
        const parts = this.#partsOf(functions, shapes);
        if (parts.length === 0) pairsReasonOnly++;
        else pairsChanged++;
        for (const { relation } of parts) relation.add(from, to);
      }
    }
    return { parts: [...this.#parts.values()], pairsChanged, pairsReasonOnly };
  }

  #functions(from: number, to: number): PairFunctions {
    const [before, after] = [this.#before, this.#after];
    return [before.egress(from, to), before.ingress(from, to), after.egress(from, to), after.ingress(from, to)];
  }

  #partsOf(functions: PairFunctions, shapes: readonly TableShape[]): readonly Part[] {
    const key = shapes.map(({ actions }) => actions).join(' ');
    let parts = this.#changes.get(key);
    if (parts === undefined) {
      parts = this.#makeParts(piecesOf(functions));
      this.#changes.set(key, parts);
    }
    return parts;
  }

  #makeParts(pieces: Pieces): readonly Part[] {
    const kinds = new Map<string, readonly [Action, Action]>();
    for (const verdicts of [...pieces.pieces.map((piece) => piece.verdicts), pieces.rest]) {
      const actions = actionsOf(verdicts);
      if (actions[0] !== actions[1]) kinds.set(actions.join(' '), actions);
    }
    return [...kinds.values()].map(([was, is]) => {
      const ports = portsWhere(pieces, (verdicts) => {
        const actions = actionsOf(verdicts);
        return actions[0] === was && actions[1] === is;
      });
      return this.#part(was, is, ports);
    });
  }

  #part(before: Action, after: Action, ports: PortSet): Part {
    const key = `${before} ${after} ${JSON.stringify(ports)}`;
    let part = this.#parts.get(key);
    if (part === undefined) {
      part = { before, after, ports, relation: new Relation(this.#size) };
      this.#parts.set(key, part);
    }
    return part;
  }

  group(part: Part, { from, to }: Rectangle, describer: Describer): DifferenceGroup {
    const { before, after, ports } = part;
    return {
      kind: kindOf(before, after),
      before,
      after,
      from: describer.describe(from),
      to: describer.describe(to),
      ports,
      because: this.#reasons(part, { from, to }),
    };
  }

  #reasons({ ports }: Part, { from, to }: Rectangle): DifferenceGroup['because'] {
    const reasons = { before: new Set<string>(), after: new Set<string>() };
    const named = (): DifferenceGroup['because'] => ({
      before: [...reasons.before].slice(0, reasonsMax),
      after: [...reasons.after].slice(0, reasonsMax),
    });
    let searched = 0;
    for (const source of from) {
      for (const destination of to) {
        const enough = reasons.before.size >= reasonsMax && reasons.after.size >= reasonsMax;
        if (enough || searched++ >= pairsSearchedMax) return named();
        const functions = this.#functions(source, destination);
        for (const verdicts of verdictsOn(piecesOf(functions, ports.spans), ports)) {
          addReasons(reasons.before, verdicts.slice(0, 2));
          addReasons(reasons.after, verdicts.slice(2));
        }
      }
    }
    return named();
  }
}

function actionsOf(verdicts: readonly SideVerdict[]): readonly [Action, Action] {
  return [actionOf(verdicts.slice(0, 2)), actionOf(verdicts.slice(2))];
}

/** The verdicts of each piece in the ports. No piece is partly in them: they are unions of pieces. */
function* verdictsOn({ pieces, rest }: Pieces, ports: PortSet): Generator<readonly SideVerdict[]> {
  for (const { protocol, from, verdicts } of pieces) if (portSetHas(ports, protocol, from)) yield verdicts;
  if (ports.otherProtocols !== null) yield rest;
}

/** The sides that made the verdict: those that deny, else those that ask, else both. */
function addReasons(reasons: Set<string>, sides: readonly SideVerdict[]): void {
  const named = sides.map((side, index) => ({
    side,
    text: `${index === 0 ? 'egress' : 'ingress'}: ${reasonText(side.reason)}`,
  }));
  const weight = ({ side }: { side: SideVerdict }): number =>
    side.action === 'allow' ? 0 : side.action === 'ask' ? 1 : 2;
  const heaviest = Math.max(...named.map(weight));
  for (const one of named) if (weight(one) === heaviest) reasons.add(one.text);
}

export function kindOf(before: Action, after: Action): DifferenceKind {
  if (before !== 'ask' && after === 'allow') return 'gained';
  return before === 'allow' && after !== 'ask' ? 'lost' : 'changed';
}

const kindOrder: Readonly<Record<DifferenceKind, number>> = { gained: 0, lost: 1, changed: 2 };

/** The less, the earlier: by kind, then the widest first. */
function weightOf(part: Part, { from, to }: Rectangle): number {
  const width = from.size * to.size;
  return kindOrder[kindOf(part.before, part.after)] + 1 / (1 + width);
}

/** By kind, and what is known before what is hypothetical. */
function byImportance(a: DifferenceGroup, b: DifferenceGroup): number {
  const hypothetical = (group: DifferenceGroup): number => Number(group.from.hypothetical || group.to.hypothetical);
  return kindOrder[a.kind] - kindOrder[b.kind] || hypothetical(a) - hypothetical(b);
}
