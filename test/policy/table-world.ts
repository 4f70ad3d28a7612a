/** Workloads with the tables that a compiler makes for them, kept up to date as an agent would. */
import {
  type Action,
  createCompiler,
  type IdentityId,
  identityFirst,
  type Labels,
  type PolicySet,
} from '@bulkhead/policy';
import { prefixPeers, tableFor, verdictAt } from '@bulkhead/policy/testing/compiled';

/** What both ends say about one connection between two workloads. */
export type PairJudge = (
  source: Labels,
  destination: Labels,
  service: { readonly protocol: number; readonly port: number },
) => { readonly egress: Action; readonly ingress: Action };

export class TableWorld {
  readonly #compiler = createCompiler();
  /** Numbers by the labels that count. */
  #identities = new Map<string, IdentityId>();
  #made = 0;

  /** Goes over to another set and other workloads; only labels under the keys make identities. */
  moved(policySet: PolicySet, workloads: readonly Labels[], keys: ReadonlySet<string>): PairJudge {
    const wanted = new Map(workloads.map((labels) => [identityText(labels, keys), relevant(labels, keys)]));
    const [before, set] = [this.#identities, new Map<IdentityId, Labels>()];
    this.#identities = new Map();
    for (const [text, labels] of wanted) {
      const id = before.get(text) ?? ((identityFirst + this.#made++) as IdentityId);
      this.#identities.set(text, id);
      set.set(id, labels);
    }
    const removed = [...before].filter(([text]) => !wanted.has(text)).map(([, id]) => id);
    this.#compiler.update({ policySet, identities: { set, removed }, subjects: { added: set.keys() } });
    return (source, destination, { protocol, port }) => {
      const idOf = (labels: Labels) => this.#identities.get(identityText(labels, keys))!;
      const [from, to] = [idOf(source), idOf(destination)];
      const prefixes = prefixPeers(this.#compiler);
      const side = (own: IdentityId, direction: 'egress' | 'ingress', far: IdentityId): Action => {
        const tables = this.#compiler.subject(own)!;
        const table = tableFor(prefixes, tables[direction], { kind: 'identity', identity: far });
        return verdictAt(table, protocol, port).action;
      };
      return { egress: side(from, 'egress', to), ingress: side(to, 'ingress', from) };
    };
  }
}

function relevant(labels: Labels, keys: ReadonlySet<string>): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => keys.has(key)));
}

function identityText(labels: Labels, keys: ReadonlySet<string>): string {
  return JSON.stringify(Object.entries(relevant(labels, keys)).sort(([a], [b]) => (a < b ? -1 : 1)));
}
