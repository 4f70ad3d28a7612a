/** The forms of output that every listing command has: `-o table | wide | json | yaml | name`. */
import { stringify } from 'yaml';
import { renderTable, type Column } from './table.ts';
import type { Terminal } from './terminal.ts';

export const outputFormats = ['table', 'wide', 'json', 'yaml', 'name'] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** JSON with a stable order of keys: what is equal prints equal. */
export function stableJson(value: unknown, indent = 2): string {
  return JSON.stringify(value, sortKeys, indent);
}

function sortKeys(_key: string, value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value as Record<string, unknown>).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

export const yamlText = (value: unknown): string => stringify(value, { lineWidth: 0 }).trimEnd();

export interface Listing<Row> {
  readonly rows: readonly Row[];
  readonly columns: readonly Column<Row>[];
  readonly name: (row: Row) => string;
  /** Said instead of an empty table. */
  readonly empty: string;
}

/** Lists as one value in JSON and YAML: `{"items": […]}`, so that more can be said later without breaking readers. */
export function printListing<Row>(terminal: Terminal, format: OutputFormat, listing: Listing<Row>): void {
  switch (format) {
    case 'json':
      terminal.out(stableJson({ items: listing.rows }));
      return;
    case 'yaml':
      terminal.out(yamlText({ items: listing.rows }));
      return;
    case 'name':
      for (const row of listing.rows) terminal.out(listing.name(row));
      return;
    case 'table':
    case 'wide': {
      if (listing.rows.length === 0) {
        terminal.err(listing.empty);
        return;
      }
      const options = { paint: terminal.paint, columnsMax: terminal.width, wide: format === 'wide' };
      for (const line of renderTable(listing.rows, listing.columns, options)) terminal.out(line);
      return;
    }
    default:
      return format satisfies never;
  }
}

/** One value: as JSON or YAML where asked for, else through `describe`. */
export function printValue(
  terminal: Terminal,
  format: OutputFormat,
  value: unknown,
  describe: () => readonly string[],
): void {
  if (format === 'json') terminal.out(stableJson(value));
  else if (format === 'yaml') terminal.out(yamlText(value));
  else for (const line of describe()) terminal.out(line);
}
