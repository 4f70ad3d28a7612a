import { combinedAction } from '../decide/decide.ts';
import type { Action, PortTable, SideVerdict } from '../model.ts';
import type { PairJudge } from './pair-judge.ts';

/** The two sides of connections between two classes. */
export interface PairTables {
  /** Equal for equal functions of both sides, within one `PairVerdicts`. */
  readonly number: number;
  readonly egress: PortTable;
  readonly ingress: PortTable;
}

const tablesMax = 2 ** 26;

/** Numbers the pairs of functions that a judge gives, so that what follows from one is computed once. */
export class PairVerdicts {
  readonly #judge: PairJudge;
  readonly #tableNumbers = new Map<PortTable, number>();
  readonly #pairs = new Map<number, PairTables>();

  constructor(judge: PairJudge) {
    this.#judge = judge;
  }

  pair(from: number, to: number): PairTables {
    const [egress, ingress] = [this.#judge.egress(from, to), this.#judge.ingress(from, to)];
    const key = this.#numberOf(egress) * tablesMax + this.#numberOf(ingress);
    let pair = this.#pairs.get(key);
    if (pair === undefined) {
      pair = { number: this.#pairs.size, egress, ingress };
      this.#pairs.set(key, pair);
    }
    return pair;
  }

  #numberOf(table: PortTable): number {
    let number = this.#tableNumbers.get(table);
    if (number === undefined) {
      number = this.#tableNumbers.size;
      if (number >= tablesMax) throw new Error(`more than ${tablesMax} port tables`);
      this.#tableNumbers.set(table, number);
    }
    return number;
  }
}

export function actionOf([egress, ingress]: readonly SideVerdict[]): Action {
  return combinedAction(egress!, ingress!);
}
