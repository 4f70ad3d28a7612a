import { prefixContains, type PrefixBits } from '../select/prefix.ts';

interface Node<Value> {
  /** The bits from the root to here. */
  bits: PrefixBits;
  value: Value | undefined;
  readonly children: [Node<Value> | undefined, Node<Value> | undefined];
}

/**
 * A map from prefixes that can be walked along the prefixes around one, and over those inside one. A radix tree with compressed
 * paths (Morrison 1968): at most two nodes for each prefix.
 */
export class PrefixTree<Value> {
  readonly #root: Node<Value> = { bits: '', value: undefined, children: [undefined, undefined] };

  get(bits: PrefixBits): Value | undefined {
    const path = this.#path(bits);
    const last = path.at(-1)!;
    return last.bits === bits ? last.value : undefined;
  }

  set(bits: PrefixBits, value: Value): void {
    const last = this.#path(bits).at(-1)!;
    if (last.bits === bits) {
      last.value = value;
      return;
    }
    const branch = branchOf(bits, last.bits.length);
    const sibling = last.children[branch];
    const leaf: Node<Value> = { bits, value, children: [undefined, undefined] };
    if (sibling === undefined) {
      last.children[branch] = leaf;
      return;
    }
    const shared = sharedBits(bits, sibling.bits);
    const fork: Node<Value> =
      shared === bits ? leaf : { bits: shared, value: undefined, children: [undefined, undefined] };
    fork.children[branchOf(sibling.bits, shared.length)] = sibling;
    if (fork !== leaf) fork.children[branchOf(bits, shared.length)] = leaf;
    last.children[branch] = fork;
  }

  delete(bits: PrefixBits): void {
    const path = this.#path(bits);
    const node = path.at(-1)!;
    if (node.bits !== bits) return;
    node.value = undefined;
    // A node without value is kept only as a fork of two.
    for (let depth = path.length - 1; depth > 0; depth--) {
      const current = path[depth]!;
      const [zero, one] = current.children;
      if (current.value !== undefined || (zero !== undefined && one !== undefined)) return;
      const parent = path[depth - 1]!;
      parent.children[branchOf(current.bits, parent.bits.length)] = zero ?? one;
    }
  }

  /** The values of the prefixes that contain this one, itself included, the widest first. */
  covering(bits: PrefixBits): Value[] {
    return this.#path(bits).flatMap(({ value }) => (value === undefined ? [] : [value]));
  }

  /** The values of the prefixes inside this one, itself included. */
  *inside(bits: PrefixBits): Generator<Value> {
    const last = this.#path(bits).at(-1)!;
    const top = last.bits === bits ? last : last.children[branchOf(bits, last.bits.length)];
    const pending = top !== undefined && prefixContains(bits, top.bits) ? [top] : [];
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      if (node.value !== undefined) yield node.value;
      for (const child of node.children) if (child !== undefined) pending.push(child);
    }
  }

  /** The nodes that contain the prefix, from the root down. */
  #path(bits: PrefixBits): Node<Value>[] {
    const path = [this.#root];
    for (let node: Node<Value> | undefined = this.#root; node.bits.length < bits.length;) {
      node = node.children[branchOf(bits, node.bits.length)];
      if (node === undefined || !prefixContains(node.bits, bits)) break;
      path.push(node);
    }
    return path;
  }
}

/** The root's children are the families, '4' and '6'; below them are bits. */
function branchOf(bits: PrefixBits, index: number): 0 | 1 {
  const bit = bits[index];
  return bit === '0' || bit === '4' ? 0 : 1;
}

function sharedBits(a: PrefixBits, b: PrefixBits): PrefixBits {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return a.slice(0, length);
}
