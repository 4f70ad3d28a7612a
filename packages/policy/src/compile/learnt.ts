import type { PeerId } from '../model.ts';
import { dnsNameMatches } from '../select/dns-name.ts';
import { addressBits, type PrefixBits } from '../select/prefix.ts';
import { FewSet } from './few-set.ts';
import type { Groups } from './groups.ts';
import type { Networks } from './networks.ts';
import { type Group, joinGroup, leaveGroup, type MembershipListener, type PeerEntry } from './peer.ts';

/** An address outside, and the names under which a workload learnt it. Names are canonical: lower case, no dot at the end. */
export interface Answer {
  readonly address: string;
  readonly names: readonly string[];
}

/** An answer that the compiler keeps in mind. The same object for equal answers. */
export interface Learnt extends Answer {
  /** What the address is for who learnt it: null while no rule asks for any of the names. */
  readonly peer: PeerId | null;
}

/** The address is another peer now, `learnt.peer`. */
export interface LearntMove {
  readonly learnt: Learnt;
  /** The peer whose row the address had before. */
  readonly from: PeerId;
}

interface LearntEntry extends PeerEntry {
  readonly kind: 'learnt';
  readonly held: Set<Held>;
  /** What its addresses have in common: the longest prefix around them and the patterns. */
  key: string;
}

interface Held extends Learnt {
  readonly key: string;
  readonly bits: PrefixBits;
  peer: PeerId | null;
  entry: LearntEntry | null;
  /** The longest prefix in use around the address. */
  covering: PeerEntry;
  uses: number;
}

/** What became of learnt peers in a round. */
export interface LearntChanges {
  readonly added: ReadonlySet<PeerEntry>;
  readonly removed: ReadonlySet<PeerEntry>;
  readonly moves: readonly LearntMove[];
}

const noChanges: LearntChanges = { added: new Set(), removed: new Set(), moves: [] };

/**
 * Addresses that were learnt by name, as peers: one for all that are inside the same prefixes in use and whose names the same patterns
 * cover. A learnt peer is a member of all networks that the address is in, and of the patterns.
 */
export class LearntPeers {
  readonly #groups: Groups;
  readonly #networks: Networks;
  readonly #listener: MembershipListener;
  readonly #onPeer: (entry: PeerEntry) => void;
  readonly #held = new Map<string, Held>();
  readonly #entries = new Set<LearntEntry>();
  readonly #byKey = new Map<string, LearntEntry>();
  /** Made in this round. */
  readonly #fresh = new Set<LearntEntry>();
  #patternsVersion = 0;
  /** Networks changed: what the addresses are in must be looked at again. */
  isStale = false;

  /** `onPeer` is told of each peer that comes or goes. */
  constructor(parts: {
    groups: Groups;
    networks: Networks;
    listener: MembershipListener;
    onPeer: (entry: PeerEntry) => void;
  }) {
    this.#onPeer = parts.onPeer;
    this.#groups = parts.groups;
    this.#networks = parts.networks;
    this.#listener = parts.listener;
  }

  entries(): Iterable<PeerEntry> {
    return this.#entries;
  }

  has(entry: PeerEntry): boolean {
    return this.#entries.has(entry as LearntEntry);
  }

  /** A pattern covers one of the names; or, without names, there is one at all. */
  isAsked(names?: readonly string[]): boolean {
    for (const { pattern } of this.#groups.names())
      if (names === undefined || names.some((name) => dnsNameMatches(pattern, name))) return true;
    return false;
  }

  /** Keeps the answer in mind until `release`. It has its peer at once. */
  hold({ address, names }: Answer): Learnt {
    const bits = addressBits(address);
    if (bits === null) throw new Error(`"${address}" was learnt by name and is no address`);
    const sorted = [...new Set(names)].sort();
    const key = `${bits} ${sorted.join(' ')}`;
    let held = this.#held.get(key);
    if (held === undefined) {
      const covering = this.#networks.covering(bits);
      held = { address, names: sorted, key, bits, peer: null, entry: null, covering, uses: 0 };
      this.#held.set(key, held);
      const patterns = this.#patternsOf(held);
      // No packet was judged by it before, so that any peer will do.
      if (patterns.length > 0)
        this.#enter(held, this.#byKey.get(keyOf(covering, patterns)) ?? this.#make(covering, patterns));
    }
    held.uses++;
    return held;
  }

  /** For what `hold` gave. */
  release(learnt: Learnt): void {
    const held = learnt as Held;
    held.uses--;
    if (held.uses < 0) throw new Error(`${held.address} is forgotten more often than it was learnt`);
    if (held.uses > 0) return;
    this.#held.delete(held.key);
    held.entry?.held.delete(held);
  }

  /** Ends a round of changes: every address is what its prefixes and names make of it now. */
  settle(): LearntChanges {
    const moves: LearntMove[] = [];
    if (this.isStale || this.#patternsVersion !== this.#groups.patternsVersion) {
      this.isStale = false;
      this.#patternsVersion = this.#groups.patternsVersion;
      for (const entry of [...this.#entries]) this.#split(entry, moves);
      this.#findPeers(moves);
      for (const entry of this.#entries) this.#regroup(entry);
    }
    const added = new Set<PeerEntry>(this.#fresh);
    this.#fresh.clear();
    const removed = new Set<PeerEntry>();
    for (const entry of this.#entries) {
      if (entry.held.size > 0) continue;
      this.#entries.delete(entry);
      if (this.#byKey.get(entry.key) === entry) this.#byKey.delete(entry.key);
      this.#regroupTo(entry, new Set());
      this.#onPeer(entry);
      if (!added.delete(entry)) removed.add(entry);
    }
    return added.size + removed.size + moves.length === 0 ? noChanges : { added, removed, moves };
  }

  /** Peers for addresses that were none of their own, and that a pattern covers now. */
  #findPeers(moves: LearntMove[]): void {
    // One for all that had the same row before: what is copied to it must fit all of them.
    const made = new Map<string, LearntEntry>();
    for (const held of this.#held.values()) {
      if (held.entry !== null) continue;
      const from = held.covering;
      held.covering = this.#networks.covering(held.bits);
      const patterns = this.#patternsOf(held);
      if (patterns.length === 0) continue;
      const key = `${from.peer} ${keyOf(held.covering, patterns)}`;
      const entry = made.get(key) ?? this.#make(held.covering, patterns);
      made.set(key, entry);
      this.#enter(held, entry);
      moves.push({ learnt: held, from: from.peer });
    }
  }

  /** Where the addresses of a peer have less in common than before, all but the first kind become others. */
  #split(entry: LearntEntry, moves: LearntMove[]): void {
    const kinds = new Map<string, { patterns: Group[]; list: Held[] }>();
    for (const held of entry.held) {
      held.covering = this.#networks.covering(held.bits);
      const patterns = this.#patternsOf(held);
      const key = keyOf(held.covering, patterns);
      const kind = kinds.get(key);
      if (kind === undefined) kinds.set(key, { patterns, list: [held] });
      else kind.list.push(held);
    }
    const [first, ...others] = kinds;
    if (first !== undefined) this.#rekey(entry, first[0]);
    for (const [, { patterns, list }] of others) {
      const other = this.#make(list[0]!.covering, patterns);
      for (const held of list) {
        entry.held.delete(held);
        this.#enter(held, other);
        moves.push({ learnt: held, from: entry.peer });
      }
    }
  }

  #rekey(entry: LearntEntry, key: string): void {
    if (this.#byKey.get(entry.key) === entry) this.#byKey.delete(entry.key);
    entry.key = key;
    if (!this.#byKey.has(key)) this.#byKey.set(key, entry);
  }

  #make(covering: PeerEntry, patterns: readonly Group[]): LearntEntry {
    const key = keyOf(covering, patterns);
    const peer = this.#networks.newPeer();
    const entry: LearntEntry = { peer, kind: 'learnt', groups: new FewSet(), signature: null, held: new Set(), key };
    this.#entries.add(entry);
    this.#fresh.add(entry);
    if (!this.#byKey.has(key)) this.#byKey.set(key, entry);
    this.#regroupTo(entry, new Set([...covering.groups, ...patterns]));
    this.#onPeer(entry);
    return entry;
  }

  #enter(held: Held, entry: LearntEntry): void {
    held.entry = entry;
    held.peer = entry.peer;
    entry.held.add(held);
  }

  #patternsOf({ names }: Answer): Group[] {
    return [...this.#groups.names()].filter(({ pattern }) => names.some((name) => dnsNameMatches(pattern, name)));
  }

  #regroup(entry: LearntEntry): void {
    const [held] = entry.held;
    if (held !== undefined) this.#regroupTo(entry, new Set([...held.covering.groups, ...this.#patternsOf(held)]));
  }

  #regroupTo(entry: LearntEntry, after: ReadonlySet<Group>): void {
    for (const group of entry.groups) {
      if (after.has(group)) continue;
      leaveGroup(entry, group);
      this.#listener(entry, group);
    }
    for (const group of after) {
      if (entry.groups.has(group)) continue;
      joinGroup(entry, group);
      this.#listener(entry, group);
    }
  }
}

function keyOf(covering: PeerEntry, patterns: readonly Group[]): string {
  return `${covering.peer} ${patterns
    .map(({ number }) => number)
    .sort((a, b) => a - b)
    .join(' ')}`;
}
