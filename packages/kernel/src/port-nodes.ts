/**
 * Ownership of the port nodes: hash-consed by content, counted by references, and reused only after a wait for the packets that might
 * still be reading them. The same for both adapters; where the nodes lie is behind `NodeStore`.
 */
import { verdictBits } from './generated/maps.ts';
import { KernelError, type KernelPortTable, type KernelVerdict, type PortRoot } from './port.ts';
import {
  buildTree,
  keyMax,
  nodeWidth,
  partsOf,
  sameVerdict,
  tableOf,
  treeDepthMax,
  type Part,
  type PortNode,
} from './port-tree.ts';

export interface NodeStore {
  /** Nodes have the indexes 1 … nodesMax-1; node 0 is never used, so that a zeroed row refers to nothing. */
  readonly nodesMax: number;
  write(index: number, node: PortNode): void;
  read(index: number): PortNode;
  /** Returns when no packet can be reading a node that was released before. */
  waitForPackets(): void;
}

const actions = ['allow', 'deny', 'reject', 'ask'] as const;
const lives = [undefined, 'keep', 'reset', 'stay'] as const;
/** Largest number of a rule. */
export const ruleMax = verdictBits.ruleMask;

/** A reference is a node's index, or with bit 31 a verdict: bits 28–30 action, bits 26–27 live, bits 0–25 rule (bpf/maps.h). */
export function encodeVerdict(verdict: KernelVerdict): number {
  if (!Number.isInteger(verdict.rule) || verdict.rule < 0 || verdict.rule > ruleMax)
    throw new RangeError(`rule ${verdict.rule}`);
  const { actionShift, liveShift } = verdictBits;
  const bits = (actions.indexOf(verdict.action) << actionShift) | (lives.indexOf(verdict.live) << liveShift);
  return (0x80000000 | bits | verdict.rule) >>> 0;
}
export function isVerdict(reference: number): boolean {
  return reference >>> 31 === 1;
}
/** An action that this code does not know is a denial. */
export function decodeVerdict(reference: number): KernelVerdict {
  const action = actions[(reference >>> verdictBits.actionShift) & 7] ?? 'deny';
  const live = lives[(reference >>> verdictBits.liveShift) & 3];
  const rule = reference & ruleMax;
  return live === undefined ? { action, rule } : { action, rule, live };
}

interface Held {
  readonly key: string;
  /** Parents plus holders of the root. */
  references: number;
}

const keyBuffer = Buffer.alloc((nodeWidth * 2 - 1) * 4);
/** Content of a node as a short string (two bytes of content per character). */
function contentKey(node: PortNode): string {
  let at = 0;
  for (const bound of node.bounds) at = keyBuffer.writeUInt32LE(bound, at);
  for (const next of node.next) at = keyBuffer.writeUInt32LE(next, at);
  return keyBuffer.toString('utf16le');
}

export class PortNodes {
  readonly #store: NodeStore;
  readonly #held = new Map<number, Held>();
  readonly #byContent = new Map<string, number>();
  /** Indexes below `#fresh` were used at some time. */
  #fresh = 1;
  #free: number[] = [];
  #quarantined: number[] = [];
  /** Rows that refer to each root: a tree lives while a row can lead to it, whatever its other holders do. */
  readonly #rows = new Map<number, number>();

  constructor(store: NodeStore) {
    this.#store = store;
  }

  /** Nodes in use. */
  get size(): number {
    return this.#held.size;
  }

  add(table: KernelPortTable): PortRoot {
    const made: number[] = [];
    try {
      const root = buildTree(partsOf(table), encodeVerdict, (node) => {
        const reference = this.#share(node);
        made.push(reference);
        return reference;
      });
      // Building counted one holder for every node; the parents count their children themselves.
      for (const reference of made) if (reference !== root) this.#drop(reference);
      return root as PortRoot;
    } catch (error) {
      for (const reference of made.toReversed()) this.#drop(reference);
      throw error;
    }
  }

  release(root: PortRoot): void {
    this.#drop(root);
  }

  table(root: PortRoot): KernelPortTable {
    const parts: Part[] = [];
    this.#collect(root, keyMax, 0, parts);
    return tableOf(parts);
  }

  rowAdded(root: PortRoot): void {
    const rows = this.#rows.get(root) ?? 0;
    if (rows === 0) this.#hold(root);
    this.#rows.set(root, rows + 1);
  }
  rowRemoved(root: PortRoot): void {
    const rows = (this.#rows.get(root) ?? 0) - 1;
    if (rows > 0) {
      this.#rows.set(root, rows);
    } else {
      this.#rows.delete(root);
      this.#drop(root);
    }
  }

  /**
   * Takes over the nodes that pinned rows lead to. Every root gets one holder beside its rows; all other nodes are free, at once: whoever
   * released them did so before this process began to write.
   */
  recover(roots: Iterable<PortRoot>): void {
    for (const root of roots) {
      if (!this.#rows.has(root)) {
        this.#adopt(root, 0);
        this.#hold(root);
      }
      this.rowAdded(root);
    }
    this.#fresh = Math.max(0, ...this.#held.keys()) + 1;
    this.#free = [];
    for (let index = this.#fresh - 1; index > 0; index--) if (!this.#held.has(index)) this.#quarantined.push(index);
  }

  /** The index of a node with this content, with one more holder. */
  #share(node: PortNode): number {
    const key = contentKey(node);
    const known = this.#byContent.get(key);
    if (known !== undefined) {
      this.#held.get(known)!.references++;
      return known;
    }
    const index = this.#allocate();
    this.#store.write(index, node);
    this.#enter(index, key, node);
    return index;
  }

  #enter(index: number, key: string, node: PortNode): void {
    this.#held.set(index, { key, references: 1 });
    this.#byContent.set(key, index);
    for (const child of children(node)) this.#hold(child);
  }

  #allocate(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#fresh < this.#store.nodesMax) return this.#fresh++;
    if (this.#quarantined.length === 0) {
      throw new KernelError('add a port table', 'full', { detail: `${this.#store.nodesMax} port nodes` });
    }
    this.#store.waitForPackets();
    this.#free = this.#quarantined;
    this.#quarantined = [];
    return this.#free.pop()!;
  }

  #hold(reference: number): void {
    if (isVerdict(reference)) return;
    const index = reference;
    const held = this.#held.get(index);
    if (held === undefined) throw new RangeError(`port node ${index} is not in use`);
    held.references++;
  }

  #drop(reference: number): void {
    if (isVerdict(reference)) return;
    const index = reference;
    const held = this.#held.get(index);
    if (held === undefined) throw new RangeError(`port node ${index} is not in use`);
    held.references--;
    if (held.references > 0) return;
    this.#held.delete(index);
    // Two equal nodes may have been pinned by a process that lost its index; the content belongs to the one that is kept.
    if (this.#byContent.get(held.key) === index) this.#byContent.delete(held.key);
    this.#quarantined.push(index);
    for (const child of children(this.#store.read(index))) this.#drop(child);
  }

  /** Enters a pinned tree, each node once; leaves the root without a holder of its own. */
  #adopt(reference: number, depth: number): void {
    const index = reference;
    if (isVerdict(reference) || this.#held.has(index)) return;
    if (index >= this.#store.nodesMax || depth > treeDepthMax)
      throw new RangeError(`a pinned row leads to port node ${index}`);
    const node = this.#store.read(index);
    for (const child of children(node)) this.#adopt(child, depth + 1);
    this.#enter(index, contentKey(node), node);
    this.#held.get(index)!.references = 0;
  }

  #collect(reference: number, upper: number, depth: number, parts: Part[]): void {
    if (isVerdict(reference)) {
      const verdict = decodeVerdict(reference);
      const last = parts.at(-1);
      if (last !== undefined && sameVerdict(last.verdict, verdict)) parts.pop();
      parts.push({ upper, verdict });
      return;
    }
    if (depth > treeDepthMax) throw new RangeError(`port tree is deeper than ${treeDepthMax}`);
    const node = this.#store.read(reference);
    for (let place = 0; place < nodeWidth; place++) {
      const bound = Math.min(node.bounds[place] ?? upper, upper);
      this.#collect(node.next[place]!, bound, depth + 1, parts);
      if (bound === upper) return;
    }
  }
}

/** The distinct children of a node: one that is held twice by one node counts once. */
function children(node: PortNode): ReadonlySet<number> {
  return new Set(node.next.filter((reference) => !isVerdict(reference)));
}
