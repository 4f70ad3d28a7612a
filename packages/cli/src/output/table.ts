/** Aligned tables without rulers, as users of docker and kubectl read them. */
import { harmless, plain, visibleWidth, steady, type Paint, type Tone } from './paint.ts';

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  readonly tone?: (row: Row) => Tone | undefined;
  readonly align?: 'left' | 'right';
  /** Shortened (with an ellipsis, never below this many columns) when the terminal is too narrow. */
  readonly shrinkTo?: number;
  /** Shown only with `-o wide`. */
  readonly wide?: boolean;
}

export interface TableOptions {
  readonly paint?: Paint;
  /** Width of the terminal; without it nothing is shortened. */
  readonly columnsMax?: number | undefined;
  readonly wide?: boolean;
  readonly heading?: boolean;
}

const gap = 3;

const shorten = (text: string, width: number): string => {
  const characters = [...text];
  return characters.length <= width ? text : `${characters.slice(0, Math.max(1, width - 1)).join('')}…`;
};

/** Columns that may shrink give up space, the widest first, until the table fits or nobody can give more. */
function fit(
  widths: readonly number[],
  leasts: readonly (number | undefined)[],
  columnsMax: number,
): readonly number[] {
  const result = [...widths];
  const total = (): number => result.reduce((sum, width) => sum + width, 0) + gap * (result.length - 1);
  for (let excess = total() - columnsMax; excess > 0; excess = total() - columnsMax) {
    let widest = -1;
    for (const [index, width] of result.entries()) {
      const least = leasts[index];
      if (least !== undefined && width > least && (widest < 0 || width > result[widest]!)) widest = index;
    }
    if (widest < 0) break;
    result[widest] = Math.max(leasts[widest]!, result[widest]! - 1);
  }
  return result;
}

export function renderTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: TableOptions = {},
): readonly string[] {
  const paint = options.paint ?? plain;
  const shown = columns.filter((column) => options.wide === true || column.wide !== true);
  const cells = rows.map((row) => shown.map((column) => harmless(column.value(row)).replaceAll(/\s+/g, ' ')));
  const natural = shown.map((column, index) =>
    Math.max(column.title.length, ...cells.map((line) => visibleWidth(line[index]!))),
  );
  const leasts = shown.map((column) =>
    column.shrinkTo === undefined ? undefined : Math.max(column.shrinkTo, column.title.length),
  );
  const widths = options.columnsMax === undefined ? natural : fit(natural, leasts, options.columnsMax);

  const place = (text: string, index: number): string => {
    const width = widths[index]!;
    const short = shorten(text, width);
    if (shown[index]!.align === 'right') return short.padStart(width);
    return index === shown.length - 1 ? short : short.padEnd(width);
  };
  const lines = cells.map((line, rowIndex) =>
    line
      .map((text, index) => {
        const tone = shown[index]!.tone?.(rows[rowIndex]!);
        const placed = place(text, index);
        return tone === undefined ? placed : paint(tone, placed);
      })
      .join(' '.repeat(gap))
      .trimEnd(),
  );
  if (options.heading === false) return lines;
  const heading = shown
    .map((column, index) => place(column.title, index))
    .join(' '.repeat(gap))
    .trimEnd();
  return [paint('dim', heading), ...lines];
}

/** `name: value` blocks of `describe`: names aligned, nested blocks indented. */
export type DescribeItem =
  | { readonly kind: 'field'; readonly name: string; readonly value: string; readonly tone?: Tone | undefined }
  | { readonly kind: 'section'; readonly title: string; readonly lines: readonly string[] };

export function renderDescription(items: readonly DescribeItem[], paint: Paint = plain): readonly string[] {
  const width = Math.max(0, ...items.map((item) => (item.kind === 'field' ? item.name.length + 1 : 0)));
  const lines: string[] = [];
  for (const item of items) {
    if (item.kind === 'field') {
      const value = harmless(item.value);
      lines.push(
        `${paint('dim', `${item.name}:`.padEnd(width + 1))} ${item.tone === undefined ? value : paint(item.tone, value)}`.trimEnd(),
      );
    } else {
      lines.push('', paint('strong', item.title), ...item.lines.map((line) => `  ${steady(line)}`));
    }
  }
  return lines;
}
