import { peersMatch } from '../decide/decide.ts';
import type { PartyClass } from '../analyse/classifier.ts';
import { namesOfHop } from '../analyse/party-name.ts';
import { PartyRelations } from '../analyse/party-relations.ts';
import { isNoPort, onePort } from '../analyse/port-set.ts';
import type { NamedParty } from '../analyse/terms.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import type { WallPlaces } from './wall-places.ts';

/** One connection of a path: it is permitted from `source` to `destination`, and what is learnt goes either way. */
export interface WitnessStep {
  readonly source: NamedParty;
  readonly destination: NamedParty;
  readonly protocol: number;
  readonly port: number;
  /** Whether the path goes against the connection. */
  readonly backwards: boolean;
}

export interface PathQuestion {
  /** Segments at the two ends. */
  readonly ends: readonly [readonly string[], readonly string[]];
  readonly sanitizers: readonly string[];
  /** Members of these are no sanitizers. */
  readonly kept: readonly string[];
}

/**
 * A shortest path of permitted connections between the ends among these workloads and hosts, and addresses outside; null where there
 * is none. Exact: each connection on it is one that `decide` permits or asks about.
 */
export function searchPath(
  set: PolicySet,
  places: WallPlaces,
  members: readonly number[],
  question: PathQuestion,
): readonly WitnessStep[] | null {
  const { workloads, hosts, addresses } = places.universe;
  const universe = {
    workloads: members.filter((place) => place < workloads.length).map((place) => workloads[place]!),
    hosts: members.filter((place) => place >= workloads.length).map((place) => hosts[place - workloads.length]!),
    addresses,
  };
  const segmentPeers = (segments: readonly string[]) => ({
    key: segments.map((segment) => `segment:${segment}`).join('|'),
    list: segments.map((segment) => ({ kind: 'segment', segment }) as const),
  });
  const [from, to, sanitizers, kept] = [...question.ends, question.sanitizers, question.kept].map(segmentPeers);
  const relations = new PartyRelations(set, universe, [from!, to!, sanitizers!, kept!], { paths: true });
  const nodes = relations.classes.filter(({ party, hypothetical }) => {
    if (hypothetical) return false;
    return peersMatch(set, kept!, party) || (party.kind !== 'host' && !peersMatch(set, sanitizers!, party));
  });
  return shortestPath(
    relations,
    nodes,
    nodes.filter(({ party }) => peersMatch(set, from!, party)),
    new Set(nodes.filter(({ party }) => peersMatch(set, to!, party))),
  );
}

function shortestPath(
  relations: PartyRelations,
  nodes: readonly PartyClass[],
  from: readonly PartyClass[],
  to: ReadonlySet<PartyClass>,
): readonly WitnessStep[] | null {
  const before = new Map<PartyClass, { readonly node: PartyClass; readonly step: WitnessStep } | null>();
  for (const node of from) before.set(node, null);
  if (from.some((node) => to.has(node))) return [];
  const queue = [...from];
  for (const node of queue) {
    for (const next of nodes) {
      if (before.has(next)) continue;
      const step = stepBetween(relations, node, next);
      if (step === null) continue;
      before.set(next, { node, step });
      if (to.has(next)) return pathTo(before, next);
      queue.push(next);
    }
  }
  return null;
}

function pathTo(
  before: ReadonlyMap<PartyClass, { readonly node: PartyClass; readonly step: WitnessStep } | null>,
  end: PartyClass,
): readonly WitnessStep[] {
  const steps: WitnessStep[] = [];
  for (let at = before.get(end); at != null; at = before.get(at.node)) steps.unshift(at.step);
  return steps;
}

function stepBetween(relations: PartyRelations, node: PartyClass, next: PartyClass): WitnessStep | null {
  // Two addresses outside are judged by nobody, and known to nobody.
  if (node.party.kind === 'address' && next.party.kind === 'address') return null;
  for (const backwards of [false, true]) {
    const [source, destination] = backwards ? [next, node] : [node, next];
    const { permitted } = relations.facts(relations.pair(source.index, destination.index));
    if (isNoPort(permitted)) continue;
    const { from, to } = namesOfHop(source, destination);
    return { source: from, destination: to, ...onePort(permitted), backwards };
  }
  return null;
}
