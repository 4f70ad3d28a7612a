import type { PolicySet } from '../resolve/policy-set.ts';
import { type Network, networkKey, type Peer, type Peers, type ResolvedRule } from '../resolve/rule.ts';
import { membershipOf, type Segment } from '../resolve/segment.ts';
import { selectorKey, selectorMatches } from '../select/selector.ts';
import type { NetworkGroup, Networks } from './networks.ts';
import type { PeerSet, RuleEntry } from './peer-set.ts';
import type { Group, PeerEntry } from './peer.ts';
import { type NumberedVerdict, type PortTables, sameVerdict } from './port-table.ts';
import type { SelectionGroup, Selections } from './selections.ts';

/** The rules in force, their ends as shared peer sets, and the groups of those. */
export class RuleBook {
  readonly #selections: Selections;
  readonly #networks: Networks;
  readonly #tables: PortTables;
  readonly #hostGroup: Group;
  readonly #networkGroups = new Map<string, NetworkGroup>();
  readonly #peerSets = new Map<string, PeerSet>();
  readonly #idle = new Set<PeerSet>();
  #numbersGiven = 0;
  #networkGroupsMade = 0;

  constructor(parts: { selections: Selections; networks: Networks; tables: PortTables; hostGroup: Group }) {
    this.#selections = parts.selections;
    this.#networks = parts.networks;
    this.#tables = parts.tables;
    this.#hostGroup = parts.hostGroup;
  }

  /** `former` is the rule of that name before: where the verdict is the same, tables that hold it stay the same. */
  addRule(rule: ResolvedRule, former: RuleEntry | undefined): RuleEntry {
    const verdict = this.#verdictOf(rule, former?.verdict ?? null);
    const [from, to] = [this.#peerSet(rule.from), this.#peerSet(rule.to)];
    const entry: RuleEntry = { number: ++this.#numbersGiven, rule, verdict, from, to };
    from.uses++;
    to.uses++;
    if (rule.egress) from.rules.egress.add(entry);
    if (rule.ingress) to.rules.ingress.add(entry);
    return entry;
  }

  removeRule(entry: RuleEntry): void {
    entry.from.rules.egress.delete(entry);
    entry.to.rules.ingress.delete(entry);
    for (const set of [entry.from, entry.to]) {
      set.uses--;
      this.#idle.add(set);
    }
  }

  #verdictOf({ verdict }: ResolvedRule, former: NumberedVerdict | null): NumberedVerdict | null {
    if (verdict === null) return null;
    return former !== null && sameVerdict(former.verdict, verdict) ? former : this.#tables.newVerdict(verdict);
  }

  /** A side uses the set as a far end for the first time: its networks become peers. */
  activate(set: PeerSet): void {
    for (const group of set.groups) if (isNetworkGroup(group)) this.#networks.activate(group);
  }

  /** To be looked at by `sweep`: a side stopped using it. */
  noteUnused(set: PeerSet): void {
    this.#idle.add(set);
  }

  setSegment(segment: Segment): void {
    const { selector } = segment;
    const matches = (labels: Parameters<typeof membershipOf>[1]) => membershipOf(segment, labels).kind === 'member';
    this.#selections.setGroup(segmentKey(segment.name), selector === null ? null : { selector, matches });
    this.#networks.redefine(this.#networkGroup(segmentNetworksKey(segment.name), []), segment.networks);
  }

  /** The segment's rules are gone already. */
  removeSegment(name: string): void {
    const selection = this.#selections.group(segmentKey(name));
    if (selection !== undefined) this.#selections.removeGroup(selection);
    const networks = this.#networkGroups.get(segmentNetworksKey(name));
    if (networks === undefined) return;
    this.#networks.deactivate(networks);
    this.#networkGroups.delete(networks.key);
  }

  /** Forgets the peer sets that no rule has, and the groups that no peer set has; takes networks that no side looks at out of use. */
  sweep(): void {
    for (const set of this.#idle) {
      // A subject that is yet to be refreshed may use a set that no rule has any more.
      if (set.uses === 0 && set.users.size === 0) {
        this.#peerSets.delete(set.key);
        for (const group of set.groups) group.peerSets.delete(set);
      }
      for (const group of set.groups) this.#sweepGroup(group);
    }
    this.#idle.clear();
  }

  #sweepGroup(group: Group): void {
    if (isNetworkGroup(group)) {
      if (![...group.peerSets].some(({ users }) => users.size > 0)) this.#networks.deactivate(group);
      if (group.peerSets.size === 0 && !group.key.startsWith(segmentNetworksPrefix))
        this.#networkGroups.delete(group.key);
    } else if (group.peerSets.size === 0 && group.key.startsWith(selectorPrefix)) {
      this.#selections.removeGroup(group as SelectionGroup);
    }
  }

  everybody(): PeerSet | undefined {
    return this.#peerSets.get('*');
  }

  #peerSet(peers: Peers): PeerSet {
    let set = this.#peerSets.get(peers.key);
    if (set !== undefined) return set;
    const everybody = peers.list.some(({ kind }) => kind === 'any');
    const groups = everybody ? [] : [...new Set(peers.list.flatMap((peer) => this.#groupsOf(peer)))];
    set = {
      key: peers.key,
      everybody,
      groups,
      rules: { egress: new Set(), ingress: new Set() },
      users: new Set(),
      uses: 0,
    };
    this.#peerSets.set(set.key, set);
    for (const group of groups) group.peerSets.add(set);
    return set;
  }

  #groupsOf(peer: Peer): readonly Group[] {
    switch (peer.kind) {
      case 'any':
        return [];
      case 'host':
        return [this.#hostGroup];
      case 'segment':
        return this.#segmentGroups(peer.segment);
      case 'network':
        return [this.#networkGroup(`network:${networkKey(peer.network)}`, [peer.network])];
      case 'selector': {
        const { selector } = peer;
        const key = `${selectorPrefix}${selectorKey(selector)}`;
        const matches = (labels: Parameters<typeof selectorMatches>[1]) => selectorMatches(selector, labels);
        return [this.#selections.group(key) ?? this.#selections.setGroup(key, { selector, matches })];
      }
    }
  }

  #segmentGroups(name: string): readonly Group[] {
    const selection = this.#selections.group(segmentKey(name));
    const networks = this.#networkGroups.get(segmentNetworksKey(name));
    if (selection === undefined || networks === undefined)
      throw new Error(`a rule names the segment ${name}, which was not set`);
    return [selection, networks];
  }

  #networkGroup(key: string, networks: readonly Network[]): NetworkGroup {
    let group = this.#networkGroups.get(key);
    if (group === undefined) {
      group = {
        key,
        number: ++this.#networkGroupsMade,
        networks,
        active: false,
        members: new Set(),
        peerSets: new Set(),
      };
      this.#networkGroups.set(key, group);
    }
    return group;
  }
}

const segmentPrefix = 'segment:';
const segmentNetworksPrefix = 'segment-networks:';
const selectorPrefix = 'selector:';
const segmentKey = (name: string): string => `${segmentPrefix}${name}`;
const segmentNetworksKey = (name: string): string => `${segmentNetworksPrefix}${name}`;

/** The segments that the workload of the entry is a member of, by name. */
export function segmentsOfEntry(entry: PeerEntry, policySet: PolicySet): readonly Segment[] {
  const segments: Segment[] = [];
  for (const { key } of entry.groups) {
    const segment = key.startsWith(segmentPrefix) ? policySet.segments.get(key.slice(segmentPrefix.length)) : undefined;
    if (segment !== undefined) segments.push(segment);
  }
  return segments.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function isSegmentGroup(group: Group): boolean {
  return group.key.startsWith(segmentPrefix);
}

function isNetworkGroup(group: Group): group is NetworkGroup {
  return 'networks' in group;
}
