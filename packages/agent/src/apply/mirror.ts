/** What the kernel was found to hold, kept up to date by the executors: the planner's actual state. */
import type {
  AddressEntry,
  EndpointEntry,
  HostPort,
  Kernel,
  KernelDirection,
  LearntEntry,
  PortRoot,
  Row,
  RowKey,
} from '@bulkhead/kernel';
import { epochModulus, learntKey, type ActualKernel, type RulesetContent } from '../plan/model.ts';
import type { KernelTable, TableStore } from '../plan/tables.ts';

interface MirroredRuleset {
  readonly egress: Map<number, KernelTable>;
  readonly ingress: Map<number, KernelTable>;
  basis: RulesetContent | null;
}

type MirroredEndpoint = Omit<EndpointEntry, 'epoch'> & { epoch: number };

interface HeldRoot {
  readonly root: PortRoot;
  rows: number;
}

export class KernelMirror implements ActualKernel {
  readonly #kernel: Kernel;
  readonly #tables: TableStore;
  /** One reference in the kernel for each table here, however many rows have it. */
  readonly #roots = new Map<KernelTable, HeldRoot>();
  endpoints = new Map<number, MirroredEndpoint>();
  addresses = new Map<string, AddressEntry>();
  cidrs = new Map<string, number>();
  hostPorts: readonly HostPort[] = [];
  learnt = new Map<string, LearntEntry>();
  rulesets = new Map<number, MirroredRuleset>();
  attached = new Set<number>();

  constructor(kernel: Kernel, tables: TableStore) {
    this.#kernel = kernel;
    this.#tables = tables;
  }

  get rowCount(): number {
    let count = 0;
    for (const { egress, ingress } of this.rulesets.values()) count += egress.size + ingress.size;
    return count;
  }

  /** Reads everything back. Throws KernelError; what was mirrored before stays then. */
  read(): void {
    const { maps, links } = this.#kernel;
    const endpoints = new Map(maps.endpoints().map((entry) => [entry.slot, entry]));
    const addresses = new Map(maps.addresses());
    const cidrs = new Map(maps.cidrs().map(({ cidr, peer }) => [cidr, peer]));
    const learnt = new Map(maps.learnt().map((entry) => [learntKey(entry), entry]));
    const attached = new Set(links.attached('workload').map(({ ifindex }) => ifindex));
    const rulesets = new Map<number, MirroredRuleset>();
    const tableOf = new Map<PortRoot, KernelTable>();
    const roots = new Map<KernelTable, HeldRoot>();
    for (const row of maps.rows()) {
      let table = tableOf.get(row.root);
      if (table === undefined) tableOf.set(row.root, (table = this.#tables.intern(maps.portTable(row.root))));
      const held = roots.get(table);
      if (held === undefined) roots.set(table, { root: row.root, rows: 1 });
      else held.rows++;
      setRow(rulesets, row.ruleset, row.direction, row.peer, table);
    }
    for (const [table, { root }] of this.#roots) {
      if (roots.get(table)?.root !== root) maps.releasePortTable(root);
    }
    for (const [ruleset, found] of rulesets) found.basis = this.#basisStillTrue(ruleset, found);
    this.#roots.clear();
    for (const [table, held] of roots) this.#roots.set(table, held);
    const hostPorts = maps.hostPorts();
    Object.assign(this, { endpoints, addresses, cidrs, learnt, hostPorts, attached, rulesets });
  }

  setRows(ruleset: number, rows: readonly { direction: KernelDirection; peer: number; table: KernelTable }[]): void {
    const { maps } = this.#kernel;
    const acquired: KernelTable[] = [];
    try {
      const kernelRows = rows.map(({ direction, peer, table }): Row => {
        let held = this.#roots.get(table);
        if (held === undefined) {
          this.#roots.set(table, (held = { root: maps.addPortTable(table.content), rows: 0 }));
          acquired.push(table);
        }
        return { ruleset, direction, peer, root: held.root };
      });
      maps.setRows(kernelRows);
    } catch (error) {
      this.#takeBack(ruleset, rows);
      for (const table of acquired) this.#dropRoot(table);
      throw error;
    }
    // What one row lets go another may just have got: first all of them hold theirs.
    const released: KernelTable[] = [];
    for (const { direction, peer, table } of rows) {
      const before = this.rulesets.get(ruleset)?.[direction].get(peer);
      if (before === table) continue;
      this.#roots.get(table)!.rows++;
      setRow(this.rulesets, ruleset, direction, peer, table);
      if (before !== undefined) released.push(before);
    }
    for (const table of released) this.#forgetRow(table);
  }

  /**
   * Some rows may have been written: out again before their tables go. A row in force gets back what it had, since without it the row of
   * all others would speak.
   */
  #takeBack(ruleset: number, rows: readonly Omit<RowKey, 'ruleset'>[]): void {
    const mirrored = this.rulesets.get(ruleset);
    const inForce = rows.flatMap(({ direction, peer }): Row[] => {
      const table = mirrored?.[direction].get(peer);
      return table === undefined ? [] : [{ ruleset, direction, peer, root: this.#roots.get(table)!.root }];
    });
    if (inForce.length > 0) this.#kernel.maps.setRows(inForce);
    this.removeRows(
      ruleset,
      rows.filter(({ direction, peer }) => mirrored?.[direction].get(peer) === undefined),
    );
  }

  removeRows(ruleset: number, rows: readonly Omit<RowKey, 'ruleset'>[]): void {
    this.#kernel.maps.removeRows(rows.map(({ direction, peer }) => ({ ruleset, direction, peer })));
    const mirrored = this.rulesets.get(ruleset);
    if (mirrored === undefined) return;
    for (const { direction, peer } of rows) {
      const table = mirrored[direction].get(peer);
      if (table === undefined) continue;
      mirrored[direction].delete(peer);
      this.#forgetRow(table);
    }
    if (mirrored.egress.size + mirrored.ingress.size === 0) this.rulesets.delete(ruleset);
  }

  /** Sets an endpoint; the mirror has a record of its own, whose epoch moves on. */
  setEndpoint(entry: EndpointEntry): void {
    this.#kernel.maps.setEndpoint(entry);
    this.endpoints.set(entry.slot, { ...entry });
  }

  /** The endpoint's live connections are judged again by their next packet. */
  judgeAgain(slot: number): void {
    const entry = this.endpoints.get(slot);
    if (entry === undefined) return;
    const { epoch } = entry;
    entry.epoch = (epoch + 1) % epochModulus;
    try {
      this.#kernel.maps.setEndpoint(entry);
    } catch (error) {
      entry.epoch = epoch;
      throw error;
    }
  }

  /** True when the kernel has the table at this row now. */
  hasRow(key: RowKey, table: KernelTable): boolean {
    return this.#kernel.maps.row(key) === this.#roots.get(table)?.root;
  }

  usedTables(): ReadonlySet<KernelTable> {
    return new Set(this.#roots.keys());
  }

  #forgetRow(table: KernelTable): void {
    const held = this.#roots.get(table);
    if (held !== undefined && --held.rows === 0) this.#dropRoot(table);
  }

  #dropRoot(table: KernelTable): void {
    const held = this.#roots.get(table);
    if (held === undefined) return;
    this.#roots.delete(table);
    this.#kernel.maps.releasePortTable(held.root);
  }

  /** What the mirror thought equal to a content still is when the kernel holds the very rows that the mirror did. */
  #basisStillTrue(ruleset: number, found: MirroredRuleset): RulesetContent | null {
    const known = this.rulesets.get(ruleset);
    if (known === undefined || known.basis === null) return null;
    return sameRows(known.egress, found.egress) && sameRows(known.ingress, found.ingress) ? known.basis : null;
  }
}

function setRow(
  rulesets: Map<number, MirroredRuleset>,
  ruleset: number,
  direction: KernelDirection,
  peer: number,
  table: KernelTable,
): void {
  let found = rulesets.get(ruleset);
  if (found === undefined) rulesets.set(ruleset, (found = { egress: new Map(), ingress: new Map(), basis: null }));
  found[direction].set(peer, table);
}

function sameRows(a: ReadonlyMap<number, KernelTable>, b: ReadonlyMap<number, KernelTable>): boolean {
  if (a.size !== b.size) return false;
  for (const [peer, table] of a) if (b.get(peer) !== table) return false;
  return true;
}
