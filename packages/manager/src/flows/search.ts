/** From a filter to SQL. Every value is bound, none is written into the text. */
import type { FlowFilter, FlowSort } from '@bulkhead/protocol';
import { verdicts } from './messages.ts';

export interface Search {
  readonly text: string;
  readonly values: Record<string, string | number>;
}

/** Segments of a person's scope that one search takes. */
const scopeMax = 200;

/** What a sort goes by, and in which direction; `arrival` settles ties. */
export const sortColumns: Record<FlowSort, { readonly column: string; readonly descending: boolean }> = {
  newest: { column: 'first_ms', descending: true },
  oldest: { column: 'first_ms', descending: false },
  bytes: { column: 'bytes_out + bytes_in', descending: true },
};

export interface Cursor {
  readonly value: number;
  readonly arrival: number;
}

export function formatCursor({ value, arrival }: Cursor): string {
  return `${value}:${arrival}`;
}

/** Null for what no search of ours gave out. */
export function parseCursor(text: string): Cursor | null {
  const [value, arrival, ...rest] = text.split(':').map(Number);
  if (value === undefined || arrival === undefined || rest.length > 0) return null;
  return Number.isFinite(value) && Number.isFinite(arrival) ? { value, arrival } : null;
}

export function searchFlows(
  filter: FlowFilter,
  sort: FlowSort,
  cursor: Cursor | null,
  limit: number,
  scope: readonly string[] | null,
): Search {
  const { clauses, values } = filterClauses(filter, scope);
  const { column, descending } = sortColumns[sort];
  if (cursor !== null) {
    const beyond = descending ? '<' : '>';
    clauses.push(`(${column} ${beyond} $cursor OR (${column} = $cursor AND arrival ${beyond} $arrival))`);
    values['cursor'] = cursor.value;
    values['arrival'] = cursor.arrival;
  }
  const where = clauses.length === 0 ? '' : `WHERE ${clauses.join(' AND ')}`;
  const order = descending ? 'DESC' : 'ASC';
  // One more than asked for tells whether there is a next page.
  const text = `SELECT *, ${column} AS sort_value FROM flows ${where} ORDER BY ${column} ${order}, arrival ${order} LIMIT ${limit + 1}`;
  return { text, values };
}

/**
 * The rows of `ends` or `texts` that a page needs. Asked for apart: a join of all of them at once takes more of the engine's memory
 * than a page is worth. The numbers are our own.
 */
export function meaningsText(table: 'ends' | 'texts', numbers: ReadonlySet<number>): string {
  return `SELECT * FROM ${table} WHERE number IN (${[...numbers, 0].join(', ')})`;
}

export function filterClauses(
  filter: FlowFilter,
  scope: readonly string[] | null,
): { clauses: string[]; values: Record<string, string | number> } {
  const clauses: string[] = [];
  const values: Record<string, string | number> = {};
  const add = (name: string, value: string | number | undefined, clause: string): void => {
    if (value === undefined) return;
    clauses.push(clause);
    values[name] = value;
  };
  const ends = (condition: string): string => `(SELECT number FROM ends WHERE ${condition})`;
  const either = (condition: string): string => `(source IN ${ends(condition)} OR destination IN ${ends(condition)})`;
  const texts = (condition: string): string => `(SELECT number FROM texts WHERE ${condition})`;
  add('id', filter.id, 'id = $id');
  add('workload', filter.workload, either('workload = $workload OR name = $workload'));
  add('source', filter.source, `source IN ${ends('workload = $source OR name = $source')}`);
  add('destination', filter.destination, `destination IN ${ends('workload = $destination OR name = $destination')}`);
  add('segment', filter.segment, either(`contains(segments, '|' || $segment || '|')`));
  add('address', filter.address, '(source_address = $address OR destination_address = $address)');
  add('host', filter.host, `host IN ${texts('text = $host')}`);
  add('verdict', filter.verdict === undefined ? undefined : verdicts.indexOf(filter.verdict), 'verdict = $verdict');
  add('protocol', filter.protocol, 'protocol = $protocol');
  add('port', filter.port, 'destination_port = $port');
  const reasons = texts('contains(text, $reason)');
  add('reason', filter.reason, `(egress_reason IN ${reasons} OR ingress_reason IN ${reasons})`);
  add('dropReason', filter.dropReason, `drop_reason IN ${texts('text = $dropReason')}`);
  add('since', filter.sinceMs, 'last_ms >= $since');
  add('until', filter.untilMs, 'first_ms <= $until');
  if (filter.staged !== undefined) clauses.push(filter.staged ? 'staged <> 0' : 'staged = 0');
  if (scope !== null) clauses.push(scopeClause(scope.slice(0, scopeMax), either, values));
  return { clauses, values };
}

function scopeClause(
  scope: readonly string[],
  either: (condition: string) => string,
  values: Record<string, string | number>,
): string {
  if (scope.length === 0) return 'false';
  scope.forEach((segment, place) => {
    values[`scope${place}`] = `|${segment}|`;
  });
  return either(scope.map((_, place) => `contains(segments, $scope${place})`).join(' OR '));
}
