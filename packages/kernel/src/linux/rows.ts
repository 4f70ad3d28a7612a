/** Rows of rulesets and the port nodes that they lead to. */
import { limit, portNodeLayout, readPortNode, writePortNode } from '../generated/maps.ts';
import { PortNodes, type NodeStore } from '../port-nodes.ts';
import type { PortNode } from '../port-tree.ts';
import { KernelError, type PortRoot, type Row, type RowKey } from '../port.ts';
import { waitForPackets } from './libc.ts';
import type { Table } from './table.ts';

const rulesetMax = 2 ** 24 - 1;

class KernelNodes implements NodeStore {
  readonly nodesMax = limit.portNodesMax;
  readonly #table: Table;
  constructor(table: Table) {
    this.#table = table;
  }
  write(index: number, node: PortNode): void {
    this.#table.keyView.setUint32(0, index, true);
    writePortNode(this.#table.valueView, 0, { bound: node.bounds, next: node.next });
    this.#table.update();
  }
  read(index: number): PortNode {
    this.#table.keyView.setUint32(0, index, true);
    if (!this.#table.lookup()) throw new KernelError(`read port node ${index}`, 'ENOENT');
    const { bound, next } = readPortNode(this.#table.valueView, 0);
    return { bounds: bound, next };
  }
  waitForPackets(): void {
    waitForPackets();
  }
}

function sideOf(key: RowKey): number {
  if (!Number.isInteger(key.ruleset) || key.ruleset < 0 || key.ruleset > rulesetMax) {
    throw new KernelError(`row of ruleset ${key.ruleset}`, 'ERANGE');
  }
  return key.ruleset * 2 + (key.direction === 'ingress' ? 1 : 0);
}

export class Rows {
  readonly nodes: PortNodes;
  readonly #table: Table;
  /** What this process knows to be in the kernel: ruleset and direction → peer → root. For reference counts; `list` reads the kernel. */
  readonly #known = new Map<number, Map<number, PortRoot>>();
  #count = 0;

  constructor(rows: Table, portNodes: Table) {
    if (portNodes.info.valueSize !== portNodeLayout.size) throw new KernelError('open port nodes', 'EPROTO');
    this.#table = rows;
    this.nodes = new PortNodes(new KernelNodes(portNodes));
    const pinned = this.list();
    for (const row of pinned) this.#remember(sideOf(row), row.peer, row.root);
    this.nodes.recover(pinned.map((row) => row.root));
  }

  /** Stores all or none. */
  set(rows: readonly Row[]): void {
    const sides = rows.map(sideOf);
    const before = rows.map((row, index) => this.#known.get(sides[index]!)?.get(row.peer));
    const added = before.filter((root) => root === undefined).length;
    const full = (): KernelError =>
      new KernelError('set rows', 'full', { detail: `${this.#count} of ${limit.rowsMax}, and ${added} new` });
    if (this.#count + added > limit.rowsMax) throw full();
    // The new roots are held before any packet can follow them, the old ones let go when none can.
    for (const row of rows) this.nodes.rowAdded(row.root);
    const stored = this.#write(rows, sides);
    if (stored < rows.length) {
      for (const row of rows) this.nodes.rowRemoved(row.root);
      this.#restore(rows.slice(0, stored), before);
      throw full();
    }
    rows.forEach((row, index) => {
      const old = this.#remember(sides[index]!, row.peer, row.root);
      if (old !== undefined) this.nodes.rowRemoved(old);
    });
  }

  /**
   * Removes rows; absent ones are passed over. A packet in between must not find the general row without the special one, so rows for
   * every other peer go first: what then finds no row is denied.
   */
  remove(keys: readonly RowKey[]): void {
    const ordered = [...keys.filter((key) => key.peer === 0), ...keys.filter((key) => key.peer !== 0)];
    const sides = ordered.map(sideOf);
    this.#table.deleteMany(ordered.length, (index, view, at) => {
      view.setUint32(at, sides[index]!, true);
      view.setUint32(at + 4, ordered[index]!.peer, true);
    });
    ordered.forEach((key, index) => {
      const peers = this.#known.get(sides[index]!);
      const root = peers?.get(key.peer);
      if (peers === undefined || root === undefined) return;
      peers.delete(key.peer);
      if (peers.size === 0) this.#known.delete(sides[index]!);
      this.#count--;
      this.nodes.rowRemoved(root);
    });
  }

  get(key: RowKey): PortRoot | undefined {
    this.#table.keyView.setUint32(0, sideOf(key), true);
    this.#table.keyView.setUint32(4, key.peer, true);
    return this.#table.lookup() ? (this.#table.valueView.getUint32(0, true) as PortRoot) : undefined;
  }

  list(): readonly Row[] {
    const found: Row[] = [];
    this.#table.walk((keys, keyAt, values, valueAt) => {
      const side = keys.getUint32(keyAt, true);
      found.push({
        ruleset: side >>> 1,
        direction: side % 2 === 1 ? 'ingress' : 'egress',
        peer: keys.getUint32(keyAt + 4, true),
        root: values.getUint32(valueAt, true) as PortRoot,
      });
    });
    return found;
  }

  #write(rows: readonly Row[], sides: readonly number[]): number {
    return this.#table.updateMany(rows.length, (index, keys, keyAt, values, valueAt) => {
      const row = rows[index]!;
      keys.setUint32(keyAt, sides[index]!, true);
      keys.setUint32(keyAt + 4, row.peer, true);
      values.setUint32(valueAt, row.root, true);
    });
  }

  /** Takes back a set of rows that was cut short. */
  #restore(stored: readonly Row[], before: readonly (PortRoot | undefined)[]): void {
    for (const [index, row] of stored.entries()) {
      const root = before[index];
      this.#table.keyView.setUint32(0, sideOf(row), true);
      this.#table.keyView.setUint32(4, row.peer, true);
      if (root === undefined) {
        this.#table.delete();
      } else {
        this.#table.valueView.setUint32(0, root, true);
        this.#table.update();
      }
    }
  }

  /** Enters a row; returns the root that it had before. */
  #remember(side: number, peer: number, root: PortRoot): PortRoot | undefined {
    let peers = this.#known.get(side);
    if (peers === undefined) {
      peers = new Map();
      this.#known.set(side, peers);
    }
    const old = peers.get(peer);
    if (old === undefined) this.#count++;
    peers.set(peer, root);
    return old;
  }
}
