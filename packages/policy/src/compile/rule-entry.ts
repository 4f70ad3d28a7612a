import type { ResolvedRule } from '../resolve/rule.ts';
import type { PeerSet } from './peer-set.ts';
import { type NumberedVerdict, type PortTables, sameVerdict } from './port-table.ts';

/** A rule in force. */
export class RuleEntry {
  readonly rule: ResolvedRule;
  readonly from: PeerSet;
  readonly to: PeerSet;
  /** Null until some table has it: most rules stand behind others that say all. */
  #verdict: NumberedVerdict | null = null;

  /** `former` is the rule of that name before: where the verdict is the same, tables that hold it stay the same. */
  constructor(rule: ResolvedRule, ends: { from: PeerSet; to: PeerSet }, former: RuleEntry | undefined) {
    this.rule = rule;
    this.from = ends.from;
    this.to = ends.to;
    const known = former === undefined ? null : former.#verdict;
    if (known !== null && rule.verdict !== null && sameVerdict(known.verdict, rule.verdict)) this.#verdict = known;
  }

  /** What the rule gives, with a number; null for a `pass`. */
  verdict(tables: PortTables): NumberedVerdict | null {
    if (this.#verdict !== null) return this.#verdict;
    const { verdict } = this.rule;
    if (verdict !== null) this.#verdict = tables.newVerdict(verdict);
    return this.#verdict;
  }
}
