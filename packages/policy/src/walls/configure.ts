import type { WallConflict, WallOutcome, WallRefusal } from './commands.ts';
import { conflictsOf } from './conflicts.ts';
import { type Carried, type Gain, type Mark, tokenFirst } from './contact-graph.ts';
import { bearerOf, type Domain, domainKey, domainsOf } from './domain.ts';
import { refused } from './contacts.ts';
import { syncSubject } from './generations.ts';
import { limit, type WallState } from './state.ts';
import { forget } from './transaction-commands.ts';
import type { WallConfiguration } from './wall.ts';

/**
 * Other walls, or other datasets. What was borne stays: a wall that is new, or loses a sanitizer, is judged by all that is known of
 * the past, and what it would have refused is told as a breach.
 */
export function configure(state: WallState, configuration: WallConfiguration): WallOutcome {
  const refusal = configurationRefusal(state, configuration);
  if (refusal !== null) return refused(refusal);
  const before = state.domains;
  state.configuration = configuration;
  state.datasetOf = new Map(configuration.datasets.map(([segment, dataset]) => [segment, state.names.number(dataset)]));
  state.domains = domainsOf(configuration.walls, state.names, state.limits).map((domain) => {
    const known = before.find(({ key }) => key === domain.key);
    return known === undefined ? domain : { ...domain, graph: known.graph };
  });
  for (const transaction of [...state.transactions.all()]) {
    const wall = configuration.walls.find(({ name }) => name === transaction.wall);
    if (wall?.scope !== 'transaction') forget(state, transaction);
  }
  for (const domain of state.domains) {
    if (!before.some(({ graph }) => graph === domain.graph)) inherit(state, domain, before);
    for (const subject of state.subjects.values()) syncSubject(state, domain, subject);
  }
  return { kind: 'recorded', breaches: standingBreaches(state) };
}

function configurationRefusal(state: WallState, { walls, datasets }: WallConfiguration): WallRefusal | null {
  const { limits, names } = state;
  if (walls.length > limits.wallsMax) return limit('wallsMax', limits);
  if (walls.reduce((sum, { pairs }) => sum + pairs.length, 0) > limits.pairsMax) return limit('pairsMax', limits);
  if (new Set(walls.filter(({ scope }) => scope !== 'static').map(domainKey)).size > limits.domainsMax)
    return limit('domainsMax', limits);
  const fresh = new Set([...walls.flatMap(({ pairs }) => pairs.flat()), ...datasets.map(([, dataset]) => dataset)]);
  for (const name of fresh) if (names.known(name) !== undefined) fresh.delete(name);
  return names.size + fresh.size > limits.namesMax ? limit('namesMax', limits) : null;
}

/** Gives everybody in a new domain what he bore in any of the domains before. */
function inherit(state: WallState, domain: Domain, before: readonly Domain[]): void {
  const carried = new Map<string, { marks: Map<Mark, number>; gains: Map<Mark, Gain> } & Carried>();
  for (const { graph } of before) {
    for (const member of graph.members()) {
      let known = carried.get(member.name);
      if (known === undefined) carried.set(member.name, (known = { marks: new Map(), gains: new Map() }));
      for (const [mark, stamp] of member.component.marks) {
        if (mark >= tokenFirst && !domain.walls.has(state.transactions.token(mark)?.transaction.wall ?? '')) continue;
        known.marks.set(mark, Math.max(known.marks.get(mark) ?? 0, Math.min(stamp, state.step)));
        const gain = member.gains.get(mark);
        if (gain !== undefined && !known.gains.has(mark)) known.gains.set(mark, gain);
      }
    }
  }
  for (const [name, marks] of carried) domain.graph.add(name, [], marks);
}

/** Conflicts inside components, at most as many as one answer lists. */
export function standingBreaches(state: WallState): WallConflict[] {
  const breaches: WallConflict[] = [];
  for (const domain of state.domains) {
    for (const { members } of domain.graph.components()) {
      const [member] = members;
      breaches.push(...conflictsOf(state, domain, [bearerOf(member!)]));
      if (breaches.length >= state.limits.conflictsMax) return breaches.slice(0, state.limits.conflictsMax);
    }
  }
  return breaches;
}
