import { compareRules, mayBeOutrankedByBlock, type Tier } from '../resolve/precedence.ts';
import type { Labels } from '../model.ts';
import { namedPortSpans, type PortSpan } from '../resolve/ports.ts';
import type { Layer, PortTables } from './port-table.ts';
import type { RuleEntry } from './rule-entry.ts';

/** The precedence of rules among the tiers of now. */
export class RuleOrder {
  readonly #tiers: ReadonlyMap<string, Tier>;

  constructor(tiers: readonly Tier[]) {
    this.#tiers = new Map(tiers.map((tier) => [tier.name, tier]));
  }

  /** True where rules stand among those tiers as among these. */
  isThatOf(tiers: readonly Tier[]): boolean {
    return (
      this.#tiers.size === tiers.length &&
      tiers.every(({ name, position, order }) => {
        const tier = this.#tiers.get(name);
        return tier?.position === position && tier.order === order;
      })
    );
  }

  /** Which of two rules comes first; for one case see `layers`. */
  readonly compare = (a: RuleEntry, b: RuleEntry): number => compareRules(this.#tiers, a.rule, b.rule);

  /** Of rules in order, those to which the others leave something to say. */
  withoutShadowed(rules: readonly RuleEntry[]): readonly RuleEntry[] {
    let tier: string | null = null;
    // Behind a rule about every port no rule of its tier is reached, but the ordered block looks past some of them.
    let closed = false;
    let blockClosed = false;
    return rules.filter(({ rule }) => {
      if (rule.tier !== tier) [tier, closed, blockClosed] = [rule.tier, false, false];
      const isShadowed = rule.block === 'ordered' ? blockClosed : closed;
      if (isShadowed || rule.ports !== null) return !isShadowed;
      closed = true;
      blockClosed ||= !this.isOutranked(rule);
      return true;
    });
  }

  /** What the rules, which come in order, say about the ports of a destination that says this about its named ports. */
  layers(rules: readonly RuleEntry[], destination: Labels, tables: PortTables): Layer[] {
    const layers: Layer[] = [];
    let tier: string | null = null;
    for (const [index, entry] of rules.entries()) {
      const { rule } = entry;
      if (rule.tier !== tier && this.isOutranked(rule)) {
        layers.push(...denialsOfBlock(rules.slice(index), destination, tables));
        tier = rule.tier;
      }
      layers.push({ tier: rule.tier, ports: portsAt(entry, destination), verdict: entry.verdict(tables) });
    }
    return layers;
  }

  /** True for a rule that a denial of the ordered block may come before. */
  isOutranked(rule: RuleEntry['rule']): boolean {
    return mayBeOutrankedByBlock(this.#tiers.get(rule.tier)?.order ?? 'severity', rule);
  }
}

/**
 * The ordered block as a tier of its own, of which only the denials count: where the block's first rule is one, it stands before the
 * questions and passes of its tier. The rest of the block is passed over here and comes where it stands.
 */
function denialsOfBlock(rules: readonly RuleEntry[], destination: Labels, tables: PortTables): readonly Layer[] {
  const { tier } = rules[0]!.rule;
  const block = rules.filter(({ rule }) => rule.tier === tier && rule.block === 'ordered');
  if (!block.some(({ rule }) => rule.action === 'deny')) return [];
  return block.map((entry) => ({
    tier: `${tier} denials`,
    ports: portsAt(entry, destination),
    verdict: entry.rule.action === 'deny' ? entry.verdict(tables) : null,
  }));
}

function portsAt({ rule }: RuleEntry, destination: Labels): readonly PortSpan[] | null {
  const { ports, namedPorts } = rule;
  if (ports === null || namedPorts.length === 0) return ports;
  return [...ports, ...namedPorts.flatMap((named) => namedPortSpans(destination, named))];
}
