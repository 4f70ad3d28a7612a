/**
 * Port tables as the planner sees them: interned by content, so that equality is identity, and ordered by what they allow. The space is
 * `protocol << 16 | port` (24 bits), as in the kernel's port nodes.
 */
import type { KernelPortTable, KernelVerdict, VerdictAction } from '@bulkhead/kernel';

export interface KernelTable {
  readonly id: number;
  readonly content: KernelPortTable;
  /** Starts of the segments of constant verdict; the first is 0. */
  readonly starts: readonly number[];
  readonly verdicts: readonly KernelVerdict[];
}

/** A denial in either form stops the packet; a question may. */
const rank = { deny: 0, reject: 0, ask: 1, allow: 2 } as const satisfies Record<VerdictAction, number>;
const spaceEnd = 2 ** 24;
const portBits = 16;

/** Interned tables; `leq` and `meet` remember their answers until the next `sweep`. */
export class TableStore {
  readonly #byKey = new Map<string, KernelTable>();
  readonly #leq = new Map<number, boolean>();
  readonly #meet = new Map<number, KernelTable>();
  #nextId = 1;

  get size(): number {
    return this.#byKey.size;
  }

  intern(table: KernelPortTable): KernelTable {
    const starts: number[] = [];
    const verdicts: KernelVerdict[] = [];
    const push = (start: number, verdict: KernelVerdict): void => {
      const last = verdicts.at(-1);
      if (starts.at(-1) === start) {
        starts.pop();
        verdicts.pop();
        push(start, verdict);
      } else if (last === undefined || !sameVerdict(last, verdict)) {
        starts.push(start);
        verdicts.push(verdict);
      }
    };
    push(0, table.otherwise);
    for (const range of table.ranges) {
      push((range.protocol << portBits) | range.from, range.verdict);
      const after = ((range.protocol << portBits) | range.to) + 1;
      if (after < spaceEnd) push(after, table.otherwise);
    }
    return this.#fromSegments(starts, verdicts, table.otherwise);
  }

  /** True when `a` allows nothing that `b` does not, and asks about nothing that `b` denies. */
  leq(a: KernelTable, b: KernelTable): boolean {
    if (a === b) return true;
    const key = pairKey(a, b);
    const known = this.#leq.get(key);
    if (known !== undefined) return known;
    let result = true;
    for (const [, left, right] of segmentsOf(a, b)) {
      if (rank[left.action] > rank[right.action]) {
        result = false;
        break;
      }
    }
    this.#leq.set(key, result);
    return result;
  }

  /** The table that allows only what both allow. Where they are as strict as each other, `b`'s verdict counts. */
  meet(a: KernelTable, b: KernelTable): KernelTable {
    if (this.leq(b, a)) return b;
    if (this.leq(a, b)) return a;
    const key = pairKey(a, b);
    const known = this.#meet.get(key);
    if (known !== undefined) return known;
    const starts: number[] = [];
    const verdicts: KernelVerdict[] = [];
    for (const [start, left, right] of segmentsOf(a, b)) {
      const verdict = rank[left.action] < rank[right.action] ? left : right;
      if (verdicts.length > 0 && sameVerdict(verdicts.at(-1)!, verdict)) continue;
      starts.push(start);
      verdicts.push(verdict);
    }
    const [left, right] = [a.content.otherwise, b.content.otherwise];
    const result = this.#fromSegments(starts, verdicts, rank[left.action] < rank[right.action] ? left : right);
    this.#meet.set(key, result);
    return result;
  }

  /** The table for a moment between two others: what would end a live connection for good leaves that to the rules that follow. */
  withoutResets(table: KernelTable): KernelTable {
    if (!table.verdicts.some(({ live }) => live === 'reset')) return table;
    const verdicts = table.verdicts.map(stays);
    return this.#fromSegments(table.starts, verdicts, stays(table.content.otherwise));
  }

  /** Forgets every table that is not in `used`. */
  sweep(used: ReadonlySet<KernelTable>): void {
    for (const [key, table] of this.#byKey) if (!used.has(table)) this.#byKey.delete(key);
    this.#leq.clear();
    this.#meet.clear();
  }

  #fromSegments(starts: readonly number[], verdicts: readonly KernelVerdict[], otherwise: KernelVerdict): KernelTable {
    const key = starts.map((start, index) => `${start}${verdictText(verdicts[index]!)}`).join(' ');
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const content = { ranges: rangesOf(starts, verdicts, otherwise), otherwise };
    const table: KernelTable = { id: this.#nextId++, content, starts, verdicts };
    this.#byKey.set(key, table);
    return table;
  }
}

/** The verdict of one (protocol, port). */
export function verdictOf(table: KernelTable, protocol: number, port: number): KernelVerdict {
  const at = (protocol << portBits) | port;
  let [low, high] = [0, table.starts.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (table.starts[middle]! <= at) low = middle;
    else high = middle - 1;
  }
  return table.verdicts[low]!;
}

/** Rule numbers that a table mentions. */
export function rulesOf(table: KernelTable): ReadonlySet<number> {
  return new Set(table.verdicts.map((verdict) => verdict.rule));
}

function sameVerdict(a: KernelVerdict, b: KernelVerdict): boolean {
  return a.action === b.action && a.rule === b.rule && a.live === b.live;
}

function verdictText({ action, rule, live }: KernelVerdict): string {
  return `${action}${rule}${live ?? ''}`;
}

function stays(verdict: KernelVerdict): KernelVerdict {
  return verdict.live === 'reset' ? { ...verdict, live: 'stay' } : verdict;
}

/** Ids stay far below 2^26: each is one distinct port function since the agent's start. */
function pairKey(a: KernelTable, b: KernelTable): number {
  return a.id * 2 ** 26 + b.id;
}

function* segmentsOf(a: KernelTable, b: KernelTable): Generator<[start: number, a: KernelVerdict, b: KernelVerdict]> {
  let [left, right, start] = [0, 0, 0];
  for (;;) {
    yield [start, a.verdicts[left]!, b.verdicts[right]!];
    const nextLeft = a.starts[left + 1] ?? spaceEnd;
    const nextRight = b.starts[right + 1] ?? spaceEnd;
    start = Math.min(nextLeft, nextRight);
    if (start === spaceEnd) return;
    if (nextLeft === start) left++;
    if (nextRight === start) right++;
  }
}

/** Ranges of what differs from `otherwise`, cut at the protocols' borders as the kernel port wants them. */
function rangesOf(
  starts: readonly number[],
  verdicts: readonly KernelVerdict[],
  otherwise: KernelVerdict,
): KernelPortTable['ranges'] {
  const ranges: KernelPortTable['ranges'][number][] = [];
  for (let index = 0; index < starts.length; index++) {
    const verdict = verdicts[index]!;
    if (sameVerdict(verdict, otherwise)) continue;
    const end = (starts[index + 1] ?? spaceEnd) - 1;
    for (let from = starts[index]!; from <= end;) {
      const protocol = from >>> portBits;
      const to = Math.min(end, (protocol << portBits) | 0xffff);
      ranges.push({ protocol, from: from & 0xffff, to: to & 0xffff, verdict });
      from = to + 1;
    }
  }
  return ranges;
}
