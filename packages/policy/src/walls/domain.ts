import type { WallLimits } from './limits.ts';
import { ConflictGraph } from './conflict-graph.ts';
import { ContactGraph, type Gain, type Mark, type Member, ownGain, stillThere } from './contact-graph.ts';
import type { Names } from './names.ts';
import type { WallRule } from './wall.ts';

/**
 * Walls that see the same contacts: of one scope, and with the same sanitizers. Each domain has components of its own, since what a
 * sanitizer of one wall does not pass on, it does pass on for the others.
 */
export interface Domain {
  readonly key: string;
  readonly scope: 'history' | 'transaction';
  readonly walls: ReadonlyMap<string, WallRule>;
  readonly sanitizers: readonly string[];
  readonly conflicts: ConflictGraph;
  readonly graph: ContactGraph;
}

/** What bears marks, or would: a member with its component, or what a subject would start with. */
export interface Bearer {
  readonly subject: string;
  readonly marks: ReadonlyMap<Mark, number>;
  readonly gains: ReadonlyMap<Mark, Gain>;
}

export function bearerOf(member: Member): Bearer {
  return { subject: member.name, marks: member.component.marks, gains: member.gains };
}

/** A bearer that is in contact with nobody yet. */
export function newcomer(subject: string, own: Iterable<Mark>): Bearer {
  const marks = new Map<Mark, number>();
  const gains = new Map<Mark, Gain>();
  for (const mark of own) {
    marks.set(mark, stillThere);
    gains.set(mark, ownGain);
  }
  return { subject, marks, gains };
}

/** A wall of scope `static` has no domain: it is judged when documents are applied, not when contacts are asked for. */
export function domainsOf(walls: readonly WallRule[], names: Names, limits: WallLimits): Domain[] {
  const groups = Map.groupBy(
    walls.filter(({ scope }) => scope !== 'static'),
    domainKey,
  );
  return [...groups]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, members]) => {
      const [{ scope, sanitizers }] = members as [WallRule, ...WallRule[]];
      return {
        key,
        scope: scope === 'transaction' ? 'transaction' : 'history',
        walls: new Map(members.map((wall) => [wall.name, wall])),
        sanitizers,
        conflicts: new ConflictGraph(members, names.number),
        graph: new ContactGraph(limits),
      };
    });
}

export function domainKey({ scope, sanitizers }: WallRule): string {
  return JSON.stringify([scope, sanitizers]);
}
