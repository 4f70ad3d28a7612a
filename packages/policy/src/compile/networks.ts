import { cidrPeerFirst, type PeerId } from '../model.ts';
import type { Prefix, PrefixBits } from '../select/prefix.ts';
import { FewSet } from './few-set.ts';
import { inNetwork } from '../resolve/segment.ts';
import type { Network } from '../resolve/peers.ts';
import { type CidrEntry, type Group, joinGroup, leaveGroup, type MembershipListener, type PeerEntry } from './peer.ts';
import { PrefixTree } from './prefix-tree.ts';
import type { CidrChange, CompilerUpdate } from './update.ts';

/** Networks as a group of CIDR peers. It has members only while some subject's rules look at it. */
export interface NetworkGroup extends Group {
  networks: readonly Network[];
  active: boolean;
}

/** What a round of changes did to the prefixes in use. */
export interface NetworkChanges {
  /** With the peer that the addresses of each new prefix had before. */
  readonly added: ReadonlyMap<CidrEntry, PeerEntry>;
  /** With the peer that the addresses of each old prefix have now. */
  readonly removed: ReadonlyMap<CidrEntry, PeerEntry>;
}

const peerIdMax = 2 ** 32 - 1;

/**
 * The prefixes in use as peers. An address belongs to the longest prefix around it; since a network's exceptions are prefixes in use
 * as well, each prefix is as a whole inside a network or outside it, which makes membership a question about prefixes alone.
 */
export class Networks {
  readonly #entries = new PrefixTree<CidrEntry>();
  readonly #all = new Set<CidrEntry>();
  /** By prefix: the networks of active groups, each with its group. A network object belongs to one group. */
  readonly #namings = new PrefixTree<Map<Network, NetworkGroup>>();
  readonly #idle = new Set<CidrEntry>();
  readonly #added = new Set<CidrEntry>();
  readonly #listener: MembershipListener;
  readonly #onPrefix: (entry: CidrEntry, covering: PeerEntry) => void;
  readonly #world: PeerEntry;
  #peersMade = 0;

  /** `onPrefix` is told of each prefix that comes or goes, when its membership stands and before it is cleared. */
  constructor(
    listener: MembershipListener,
    onPrefix: (entry: CidrEntry, covering: PeerEntry) => void,
    world: PeerEntry,
  ) {
    this.#listener = listener;
    this.#onPrefix = onPrefix;
    this.#world = world;
  }

  entries(): ReadonlySet<CidrEntry> {
    return this.#all;
  }

  /** A number for a peer of this compiler alone. */
  newPeer(): PeerId {
    const peer = cidrPeerFirst + this.#peersMade++;
    if (peer > peerIdMax) throw new Error('the numbers for networks are used up');
    return peer as PeerId;
  }

  /** The peer of the longest prefix in use that contains this one. */
  covering(bits: PrefixBits): PeerEntry {
    return this.#entries.covering(bits).at(-1) ?? this.#world;
  }

  activate(group: NetworkGroup): void {
    if (group.active) return;
    group.active = true;
    this.#adopt(group, group.networks);
  }

  deactivate(group: NetworkGroup): void {
    if (!group.active) return;
    group.active = false;
    this.#abandon(group.networks);
    for (const entry of group.members) {
      leaveGroup(entry, group);
      this.#listener(entry, group);
    }
  }

  /** Gives a group other networks. */
  redefine(group: NetworkGroup, networks: readonly Network[]): void {
    const before = group.networks;
    group.networks = networks;
    if (!group.active) return;
    this.#adopt(group, networks);
    this.#abandon(before);
    for (const entry of group.members) {
      // What was learnt by name follows the prefix around it.
      if (!isPrefix(entry)) continue;
      if (networks.some((network) => inNetwork(network, entry.prefix.bits))) continue;
      leaveGroup(entry, group);
      this.#listener(entry, group);
    }
  }

  #adopt(group: NetworkGroup, networks: readonly Network[]): void {
    for (const network of networks) {
      const { bits } = network.prefix;
      let namings = this.#namings.get(bits);
      if (namings === undefined) this.#namings.set(bits, (namings = new Map()));
      namings.set(network, group);
    }
    for (const network of networks) {
      for (const prefix of [network.prefix, ...network.except]) this.#use(prefix);
      for (const entry of this.#entries.inside(network.prefix.bits)) {
        if (group.members.has(entry) || !inNetwork(network, entry.prefix.bits)) continue;
        joinGroup(entry, group);
        this.#listener(entry, group);
      }
    }
  }

  #abandon(networks: readonly Network[]): void {
    for (const network of networks) {
      const { bits } = network.prefix;
      const namings = this.#namings.get(bits);
      namings?.delete(network);
      if (namings?.size === 0) this.#namings.delete(bits);
      for (const prefix of [network.prefix, ...network.except]) this.#disuse(prefix);
    }
  }

  #use(prefix: Prefix): void {
    const known = this.#entries.get(prefix.bits);
    if (known !== undefined) {
      known.uses++;
      return;
    }
    const entry: CidrEntry = {
      peer: this.newPeer(),
      kind: 'cidr',
      prefix,
      uses: 1,
      groups: new FewSet(),
      signature: null,
    };
    const covering = this.covering(prefix.bits);
    for (const namings of this.#namings.covering(prefix.bits)) {
      for (const [network, group] of namings) if (inNetwork(network, prefix.bits)) joinGroup(entry, group);
    }
    this.#entries.set(prefix.bits, entry);
    this.#all.add(entry);
    this.#added.add(entry);
    this.#onPrefix(entry, covering);
  }

  #disuse(prefix: Prefix): void {
    const entry = this.#entries.get(prefix.bits);
    if (entry === undefined) throw new Error(`the network ${prefix.cidr} is given back and is not in use`);
    entry.uses--;
    if (entry.uses === 0) this.#idle.add(entry);
  }

  /** Ends a round of changes: drops the prefixes that nobody names, and says which came and which went since the last round. */
  settle(): NetworkChanges {
    const removed: CidrEntry[] = [];
    for (const entry of this.#idle) {
      if (entry.uses > 0) continue;
      if (!this.#added.delete(entry)) removed.push(entry);
      this.#remove(entry);
    }
    this.#idle.clear();
    const added = [...this.#added];
    const coveringBefore = this.#coveringBefore(added, removed);
    this.#added.clear();
    const gone = removed.map((entry) => [entry, this.covering(entry.prefix.bits)] as const);
    return { added: coveringBefore, removed: new Map(gone) };
  }

  #remove(entry: CidrEntry): void {
    this.#entries.delete(entry.prefix.bits);
    this.#all.delete(entry);
    this.#onPrefix(entry, this.covering(entry.prefix.bits));
    for (const group of entry.groups) leaveGroup(entry, group);
  }

  /** For each new prefix the peer that its addresses had before this round. */
  #coveringBefore(added: readonly CidrEntry[], removed: readonly CidrEntry[]): Map<CidrEntry, PeerEntry> {
    const gone = new PrefixTree<CidrEntry>();
    for (const entry of removed) gone.set(entry.prefix.bits, entry);
    return new Map(
      added.map((entry) => {
        const known = this.#entries.covering(entry.prefix.bits).filter((cover) => !this.#added.has(cover));
        const before = [...known, ...gone.covering(entry.prefix.bits)];
        const longest = before.reduce<CidrEntry | null>(
          (best, cover) => (best === null || cover.prefix.bits.length > best.prefix.bits.length ? cover : best),
          null,
        );
        return [entry, longest ?? this.#world] as const;
      }),
    );
  }
}

function isPrefix(entry: PeerEntry): entry is CidrEntry {
  return entry.kind === 'cidr';
}

/** The same as the update tells it. */
export function cidrChanges({ added, removed }: NetworkChanges): CompilerUpdate['cidrs'] {
  const told = (changes: NetworkChanges['added']): CidrChange[] =>
    Array.from(changes, ([{ peer, prefix }, covering]) => ({ cidr: prefix.cidr, peer, covering: covering.peer }));
  return { added: told(added), removed: told(removed) };
}
