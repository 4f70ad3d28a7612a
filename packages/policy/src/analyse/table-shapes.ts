import type { PortTable, SideVerdict } from '../model.ts';
import { reasonText } from '../resolve/reason.ts';

/** What a port table comes to, in numbers that are equal for equal ones, whichever compiler the tables are of. */
export interface TableShape {
  /** Of everything in it: actions, reasons, terms. */
  readonly content: number;
  /** Of its actions alone. Most tables of a policy set differ only in the segment whose posture is their reason. */
  readonly actions: number;
}

export class TableShapes {
  readonly #shapes = new Map<PortTable, TableShape>();
  readonly #contents = new Map<string, number>();
  readonly #actions = new Map<string, number>();

  shape(table: PortTable): TableShape {
    let shape = this.#shapes.get(table);
    if (shape === undefined) {
      shape = {
        content: numberIn(this.#contents, shapeKey(table, contentOf)),
        actions: numberIn(
          this.#actions,
          shapeKey(table, ({ action }) => action),
        ),
      };
      this.#shapes.set(table, shape);
    }
    return shape;
  }
}

function numberIn(numbers: Map<string, number>, key: string): number {
  let number = numbers.get(key);
  if (number === undefined) numbers.set(key, (number = numbers.size));
  return number;
}

function contentOf({ action, reason, terms }: SideVerdict): string {
  return `${action} ${reasonText(reason)} ${terms ?? ''}`;
}

/** The ranges in one form: neighbours that say the same joined, and what says the same as the rest left out. */
function shapeKey({ ranges, otherwise }: PortTable, textOf: (verdict: SideVerdict) => string): string {
  const rest = textOf(otherwise);
  const parts: { protocol: number; from: number; to: number; text: string }[] = [];
  for (const { protocol, from, to, verdict } of ranges) {
    const text = textOf(verdict);
    const last = parts.at(-1);
    if (text === rest) continue;
    if (last !== undefined && last.protocol === protocol && last.to + 1 === from && last.text === text) last.to = to;
    else parts.push({ protocol, from, to, text });
  }
  return JSON.stringify([rest, parts.map(({ protocol, from, to, text }) => [protocol, from, to, text])]);
}
