/** Documents in force, and what an apply changes. */
import type { RouteOutput } from '@bulkhead/protocol';
import type { Paint, Tone } from '../output/paint.ts';
import type { Column } from '../output/table.ts';
import { yamlText } from '../output/format.ts';
import { age, labelsText } from '../output/units.ts';

export type DocumentRow = RouteOutput<'listDocuments'>['items'][number];
export type DocumentDifference = RouteOutput<'diffDocuments'>['changes'][number];
export type DocumentChange = RouteOutput<'applyDocuments'>['changes'][number];

export function documentColumns(nowMs: number): readonly Column<DocumentRow>[] {
  return [
    { title: 'KIND', value: (row) => row.kind },
    { title: 'NAME', value: (row) => row.name, shrinkTo: 12 },
    { title: 'SAYS', value: summary, shrinkTo: 16 },
    { title: 'REVISION', value: (row) => String(row.revision), align: 'right' },
    { title: 'BY', value: (row) => row.by },
    { title: 'AGE', value: (row) => age(row.atMs, nowMs), align: 'right' },
  ];
}

const record = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};

/** A few words about what is in it. */
function summary(row: DocumentRow): string {
  const spec = record(row.document['spec']);
  switch (row.kind) {
    case 'Policy': {
      const rules = Array.isArray(spec['rules']) ? spec['rules'] : [];
      const counts = new Map<string, number>();
      for (const rule of rules) {
        const action = String(record(rule)['action']);
        counts.set(action, (counts.get(action) ?? 0) + 1);
      }
      const actions = [...counts].map(([action, count]) => `${count} ${action}`).join(', ');
      const mode = spec['mode'] === 'staged' ? 'staged, ' : '';
      return `${mode}${String(spec['tier'] ?? 'application')}: ${actions || 'no rules'}`;
    }
    case 'Segment': {
      const labels = Object.entries(record(record(spec['selector'])['matchLabels']));
      const networks = Array.isArray(spec['networks'])
        ? spec['networks'].map((each) => String(record(each)['cidr']))
        : [];
      return [...labels.map(([key, value]) => `${key}=${String(value)}`), ...networks].join(', ');
    }
    case 'Tier':
      return `position ${String(spec['position'])}`;
    case 'Namespace':
      return labelsText(record(record(row.document['metadata'])['labels']) as Readonly<Record<string, string>>);
    case 'Invariant':
      return Object.keys(spec).join(', ');
    case 'Wall':
      return String(spec['scope']);
    default:
      return kubernetesSummary(row.document, spec);
  }
}

/** Direction by direction how many rules, and whether they are enforced. */
function kubernetesSummary(document: DocumentRow['document'], spec: Readonly<Record<string, unknown>>): string {
  const annotations = record(record(document['metadata'])['annotations']);
  const mode = annotations['bulkhead.dev/mode'] === 'staged' ? 'staged, ' : '';
  const tier = spec['tier'] === undefined ? '' : `${String(spec['tier'])}, `;
  const rules = (['ingress', 'egress'] as const).flatMap((direction) => {
    const list = spec[direction];
    return Array.isArray(list) ? [`${list.length} ${direction}`] : [];
  });
  return `${mode}${tier}${rules.join(', ') || 'no rules'}`;
}

const changeTones: Readonly<Record<DocumentChange['change'], Tone>> = {
  created: 'good',
  changed: 'warn',
  unchanged: 'dim',
  removed: 'bad',
};

export const changeLine = (change: DocumentChange, paint: Paint): string =>
  `${change.kind}/${change.name} ${paint(changeTones[change.change], change.change)}`;

/** Longest texts whose lines are compared one by one; beyond, the whole text is shown as replaced. */
const comparedLinesMax = 4000;

/** Unified lines of the two versions as YAML: what is gone, what is new, what stayed around them. */
export function differenceLines(difference: DocumentDifference, paint: Paint): readonly string[] {
  const text = (value: unknown): readonly string[] => (value === null ? [] : yamlText(value).split('\n'));
  const lines = compareLines(text(difference.before), text(difference.after)).map(({ kind, line }) => {
    if (kind === 'gone') return paint('bad', `- ${line}`);
    return kind === 'new' ? paint('good', `+ ${line}`) : `  ${line}`;
  });
  return [paint('strong', `${difference.kind}/${difference.name} (${difference.change})`), ...lines];
}

interface LineChange {
  readonly kind: 'same' | 'gone' | 'new';
  readonly line: string;
}

/** Longest common subsequence, after what is equal at both ends is taken away. */
export function compareLines(before: readonly string[], after: readonly string[]): readonly LineChange[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (
    end < before.length - start &&
    end < after.length - start &&
    before[before.length - 1 - end] === after[after.length - 1 - end]
  )
    end += 1;
  const same = (line: string): LineChange => ({ kind: 'same', line });
  const middle = compareMiddle(before.slice(start, before.length - end), after.slice(start, after.length - end));
  return [...before.slice(0, start).map(same), ...middle, ...before.slice(before.length - end).map(same)];
}

function compareMiddle(before: readonly string[], after: readonly string[]): readonly LineChange[] {
  const gone = before.map((line): LineChange => ({ kind: 'gone', line }));
  const fresh = after.map((line): LineChange => ({ kind: 'new', line }));
  if (before.length === 0 || after.length === 0 || before.length + after.length > comparedLinesMax)
    return [...gone, ...fresh];
  const width = after.length + 1;
  const lengths = new Uint32Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] =
        before[i] === after[j]
          ? lengths[(i + 1) * width + j + 1]! + 1
          : Math.max(lengths[(i + 1) * width + j]!, lengths[i * width + j + 1]!);
    }
  }
  const changes: LineChange[] = [];
  let i = 0;
  let j = 0;
  while (i < before.length && j < after.length) {
    if (before[i] === after[j]) {
      changes.push({ kind: 'same', line: before[i]! });
      i += 1;
      j += 1;
    } else if (lengths[(i + 1) * width + j]! >= lengths[i * width + j + 1]!) changes.push(gone[i++]!);
    else changes.push(fresh[j++]!);
  }
  return [...changes, ...gone.slice(i), ...fresh.slice(j)];
}
