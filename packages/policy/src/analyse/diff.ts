import type { Action, SideVerdict } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import { sameVerdict } from '../compile/port-table.ts';
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
import { actionOf, type PairTables, PairVerdicts } from './pair-verdicts.ts';
import { type Pieces, piecesOf, type PortSet, portSetHas, portsWhere } from './port-set.ts';
import { type Rectangle, Relation } from './rectangles.ts';
import { universeClasses } from './universe-classes.ts';
import { classesMax, type Universe } from './universe.ts';

/** What the second policy set allows, denies and asks otherwise than the first, exactly, over the universe. */
export function diffPolicies(before: PolicySet, after: PolicySet, universe: Universe): PolicyDifference {
  const { classes, summary } = universeClasses([before, after], universe);
  if (classes.length > classesMax) return { kind: 'too-large', classes: classes.length, classesMax };
  const comparison = new Comparison(before, after, classes);
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

/** Ports on which the verdict goes from one action to another, and the pairs for which it does. */
interface Part {
  readonly before: Action;
  readonly after: Action;
  readonly ports: PortSet;
  readonly relation: Relation;
}

/** What the functions of a pair say before and after; `pieces` have the sides egress and ingress of before, then of after. */
interface PairChange {
  readonly pieces: Pieces;
  readonly parts: readonly Part[];
  readonly reasonOnly: boolean;
}

class Comparison {
  readonly #size: number;
  readonly #verdicts: readonly [PairVerdicts, PairVerdicts];
  readonly #changes = new Map<string, PairChange>();
  readonly #parts = new Map<string, Part>();

  constructor(before: PolicySet, after: PolicySet, classes: ConstructorParameters<typeof PairJudge>[1]) {
    this.#size = classes.length;
    const verdictsOf = (set: PolicySet): PairVerdicts => {
      const judge = new PairJudge(set, classes);
      judge.prepare();
      return new PairVerdicts(judge);
    };
    this.#verdicts = [verdictsOf(before), verdictsOf(after)];
  }

  compare(): { parts: readonly Part[]; pairsChanged: number; pairsReasonOnly: number } {
    let [pairsChanged, pairsReasonOnly] = [0, 0];
    for (let from = 0; from < this.#size; from++) {
      for (let to = 0; to < this.#size; to++) {
        const { parts, reasonOnly } = this.#change(from, to);
        if (reasonOnly) pairsReasonOnly++;
        if (parts.length === 0) continue;
        pairsChanged++;
        for (const { relation } of parts) relation.add(from, to);
      }
    }
    return { parts: [...this.#parts.values()], pairsChanged, pairsReasonOnly };
  }

  #change(from: number, to: number): PairChange {
    const [before, after] = [this.#verdicts[0].pair(from, to), this.#verdicts[1].pair(from, to)];
    const key = `${before.number} ${after.number}`;
    let change = this.#changes.get(key);
    if (change === undefined) {
      change = this.#changeOf(before, after);
      this.#changes.set(key, change);
    }
    return change;
  }

  #changeOf(before: PairTables, after: PairTables): PairChange {
    const pieces = piecesOf([before.egress, before.ingress, after.egress, after.ingress]);
    const everywhere = [...pieces.pieces.map(({ verdicts }) => verdicts), pieces.rest];
    const kinds = new Map<string, readonly [Action, Action]>();
    for (const verdicts of everywhere) {
      const actions = actionsOf(verdicts);
      if (actions[0] !== actions[1]) kinds.set(actions.join(' '), actions);
    }
    const parts = [...kinds.values()].map(([was, is]) => {
      const ports = portsWhere(pieces, (verdicts) => {
        const actions = actionsOf(verdicts);
        return actions[0] === was && actions[1] === is;
      });
      return this.#part(was, is, ports);
    });
    const reasonOnly =
      parts.length === 0 && everywhere.some(([e0, i0, e1, i1]) => !sameVerdict(e0!, e1!) || !sameVerdict(i0!, i1!));
    return { pieces, parts, reasonOnly };
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
    const seen = new Set<PairChange>();
    let searched = 0;
    for (const source of from) {
      for (const destination of to) {
        if (searched++ >= pairsSearchedMax) return named();
        const change = this.#change(source, destination);
        if (seen.has(change)) continue;
        seen.add(change);
        for (const verdicts of verdictsOn(change.pieces, ports)) {
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
