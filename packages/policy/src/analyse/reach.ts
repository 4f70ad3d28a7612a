import type { ClassSet } from './class-set.ts';
import { isNoPort, portSetShared, type PortSet } from './port-set.ts';
import type { PartyRelations } from './party-relations.ts';

/** One step of a path: a connection on one of the ports. */
export interface Step {
  readonly from: number;
  readonly to: number;
  readonly ports: PortSet;
}

/** `path`: a shortest one, and of those one with the fewest questions. `closed`: what can be reached without reaching `to`. */
export type Reach =
  | { readonly kind: 'path'; readonly steps: readonly Step[] }
  | { readonly kind: 'closed'; readonly reachable: ClassSet };

interface Search {
  readonly from: ClassSet;
  readonly to: ClassSet;
  /** Who may stand in the middle of a path. */
  readonly relays: ClassSet;
  /** Ports of the last connection. */
  readonly portsAt: (destination: number) => PortSet;
}

interface Arrival {
  readonly questions: number;
  readonly parent: number | null;
}

/** Breadth first over permitted connections: each round is one connection more, so the first path found is a shortest one. */
export function searchReach(relations: PartyRelations, search: Search): Reach {
  const arrivals = new Map<number, Arrival>();
  let level = new Map<number, Arrival>();
  for (const start of search.from) level.set(start, { questions: 0, parent: null });
  while (level.size > 0) {
    for (const [node, arrival] of level) arrivals.set(node, arrival);
    const last = lastStep(relations, search, level);
    if (last !== null) return { kind: 'path', steps: stepsTo(relations, arrivals, last) };
    level = nextLevel(relations, search.relays, level, arrivals);
  }
  const reachable = relations.classSet([...arrivals.keys()].map((index) => relations.classes[index]!));
  return { kind: 'closed', reachable };
}

/** The connection with the fewest questions before and in it that ends a path from this level. */
function lastStep(
  relations: PartyRelations,
  { to, portsAt }: Search,
  level: ReadonlyMap<number, Arrival>,
): Step | null {
  let best: Step | null = null;
  let bestQuestions = Number.POSITIVE_INFINITY;
  for (const [node, { questions }] of level) {
    for (const end of to) {
      const facts = relations.facts(relations.pair(node, end));
      const wanted = portsAt(end);
      const allowed = portSetShared(facts.allowed, wanted);
      const ports = isNoPort(allowed) ? portSetShared(facts.permitted, wanted) : allowed;
      const total = questions + Number(isNoPort(allowed));
      if (isNoPort(ports) || total >= bestQuestions) continue;
      [best, bestQuestions] = [{ from: node, to: end, ports }, total];
    }
  }
  return best;
}

function nextLevel(
  relations: PartyRelations,
  relays: ClassSet,
  level: ReadonlyMap<number, Arrival>,
  arrivals: ReadonlyMap<number, Arrival>,
): Map<number, Arrival> {
  const next = new Map<number, Arrival>();
  for (const [node, { questions }] of level) {
    for (const relay of relays) {
      if (arrivals.has(relay)) continue;
      const facts = relations.facts(relations.pair(node, relay));
      if (isNoPort(facts.permitted)) continue;
      const total = questions + Number(isNoPort(facts.allowed));
      if (total < (next.get(relay)?.questions ?? Number.POSITIVE_INFINITY))
        next.set(relay, { questions: total, parent: node });
    }
  }
  return next;
}

function stepsTo(relations: PartyRelations, arrivals: ReadonlyMap<number, Arrival>, last: Step): readonly Step[] {
  const steps = [last];
  let node = last.from;
  for (let parent = arrivals.get(node)!.parent; parent !== null; parent = arrivals.get(node)!.parent) {
    const { allowed, permitted } = relations.facts(relations.pair(parent, node));
    steps.unshift({ from: parent, to: node, ports: isNoPort(allowed) ? permitted : allowed });
    node = parent;
  }
  return steps;
}
