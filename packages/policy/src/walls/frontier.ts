interface Linked<Node> {
  readonly links: ReadonlyMap<Node, unknown>;
}

/** A breadth-first walk from one node, one link at a time. */
export class Frontier<Node extends Linked<Node>> {
  readonly visited: Set<Node>;
  /** A set's iterator also gives what is added while it runs: the queue. */
  readonly #queue: Iterator<Node>;
  #neighbours: Iterator<Node> | null = null;

  constructor(from: Node) {
    this.visited = new Set([from]);
    this.#queue = this.visited.values();
  }

  /** Follows one link and gives where it leads, visited before or not; null where all links were followed. */
  next(): Node | null {
    while (true) {
      if (this.#neighbours === null) {
        const node = this.#queue.next();
        if (node.done === true) return null;
        this.#neighbours = node.value.links.keys();
      }
      const neighbour = this.#neighbours.next();
      if (neighbour.done !== true) {
        this.visited.add(neighbour.value);
        return neighbour.value;
      }
      this.#neighbours = null;
    }
  }

  /** Everything that the node is joined with, itself included. */
  all(): ReadonlySet<Node> {
    while (this.next() !== null);
    return this.visited;
  }
}
