/** From a filter to the clauses of a search in the log. Every value is bound, none is written into the text. */
import type { QuestionFilter } from '@bulkhead/protocol';

/** Segments of a person's scope that one search takes. */
const scopeMax = 200;

export function filterClauses(
  filter: QuestionFilter,
  scope: readonly string[] | null,
): { readonly where: string; readonly values: readonly (string | number)[] } {
  const clauses: string[] = [];
  const values: (string | number)[] = [];
  const add = (clause: string, ...bound: (string | number)[]): void => {
    clauses.push(`AND ${clause}`);
    values.push(...bound);
  };
  if (filter.state !== undefined) add('state = ?', filter.state);
  if (filter.host !== undefined) add('host = ?', filter.host);
  if (filter.sinceMs !== undefined) add('at_ms >= ?', filter.sinceMs);
  if (filter.workload !== undefined) {
    const ends = ['source', 'destination'].flatMap((end) => [`${end} = ?`, `data ->> '$.record.${end}.name' = ?`]);
    add(`(${ends.join(' OR ')})`, ...ends.map(() => filter.workload!));
  }
  if (filter.segment !== undefined) add('instr(segments, ?) > 0', `|${filter.segment}|`);
  if (scope !== null) {
    const names = scope.slice(0, scopeMax);
    add(
      names.length === 0 ? '0' : `(${names.map(() => 'instr(segments, ?) > 0').join(' OR ')})`,
      ...names.map((name) => `|${name}|`),
    );
  }
  return { where: clauses.join(' '), values };
}
