import type { PolicySet } from '../resolve/policy-set.ts';
import { type Network, networkKey, type Peer, type Peers } from '../resolve/peers.ts';
import type { ResolvedRule } from '../resolve/rule.ts';
import { membershipOf, type Segment } from '../resolve/segment.ts';
import { selectorKey, selectorMatches } from '../select/selector.ts';
import type { NetworkGroup, Networks } from './networks.ts';
import type { Direction } from '../model.ts';
import { OwnEnd } from './own-end.ts';
import { endsOf, type PeerSet, type RuleEntry } from './peer-set.ts';
import type { Group, PeerEntry } from './peer.ts';
import { type NumberedVerdict, type PortTables, sameVerdict } from './port-table.ts';
import type { SelectionGroup, Selections } from './selections.ts';
import type { Side } from './side.ts';
import { directions } from './subject.ts';

/** The rules in force, their ends as shared peer sets, and the groups of those. */
export class RuleBook {
  readonly #selections: Selections;
  readonly #networks: Networks;
  readonly #tables: PortTables;
  readonly #hostGroup: Group;
  readonly #networkGroups = new Map<string, NetworkGroup>();
  readonly #peerSets = new Map<string, PeerSet>();
  readonly #idle = new Set<PeerSet>();
  readonly #onEnd: (end: OwnEnd) => void;
  #everybody: PeerSet | null = null;
  #endsMade = 0;
  #listsMade = 0;
  #networkGroupsMade = 0;

  /** `onEnd` is told of each end that gets its first rule, or has lost its last one. */
  constructor(parts: {
    selections: Selections;
    networks: Networks;
    tables: PortTables;
    hostGroup: Group;
    onEnd: (end: OwnEnd) => void;
  }) {
    this.#onEnd = parts.onEnd;
    this.#selections = parts.selections;
    this.#networks = parts.networks;
    this.#tables = parts.tables;
    this.#hostGroup = parts.hostGroup;
  }

  /** `former` is the rule of that name before: where the verdict is the same, tables that hold it stay the same. */
  addRule(rule: ResolvedRule, former: RuleEntry | undefined): RuleEntry {
    const verdict = this.#verdictOf(rule, former?.verdict ?? null);
    const [from, to] = [this.#peerSet(rule.from), this.#peerSet(rule.to)];
    const entry: RuleEntry = { rule, verdict, from, to };
    from.uses++;
    to.uses++;
    for (const direction of directions) if (rule[direction]) this.#addToEnd(entry, direction);
    return entry;
  }

  #addToEnd(entry: RuleEntry, direction: Direction): void {
    const { own } = endsOf(entry, direction);
    let end = own.own[direction];
    if (end === null) {
      end = new OwnEnd(own, direction, ++this.#endsMade);
      own.own[direction] = end;
      this.#onEnd(end);
    }
    const far = end.add(entry, ++this.#listsMade);
    if (far !== null && end.sides.size > 0) this.#watch(far);
  }

  removeRule(entry: RuleEntry): void {
    for (const direction of directions) {
      const { own } = endsOf(entry, direction);
      const end = own.own[direction];
      if (end === null || !entry.rule[direction]) continue;
      const far = end.remove(entry);
      if (far !== null && end.sides.size > 0) this.#unwatch(far);
      if (end.lists.size > 0) continue;
      own.own[direction] = null;
      this.#onEnd(end);
    }
    for (const set of [entry.from, entry.to]) {
      set.uses--;
      this.#idle.add(set);
    }
  }

  /** The order of rules is another one now. */
  reorder(): void {
    for (const { own } of this.#peerSets.values()) {
      for (const direction of directions) for (const list of own[direction]?.lists.values() ?? []) list.reorder();
    }
  }

  /** The rules that speak for the workload of the entry. */
  endsAbout(entry: PeerEntry, direction: Direction): OwnEnd[] {
    const ends = new Set<OwnEnd>();
    const everybody = this.#everybody?.own[direction];
    if (everybody != null) ends.add(everybody);
    for (const { peerSets } of entry.groups) {
      for (const { own } of peerSets) {
        const end = own[direction];
        if (end !== null) ends.add(end);
      }
    }
    return ends.size < 2 ? [...ends] : [...ends].sort((a, b) => a.number - b.number);
  }

  /** From now on the end's rules speak for the side. */
  attach(end: OwnEnd, side: Side): void {
    end.sides.add(side);
    if (end.sides.size === 1) for (const far of end.lists.keys()) this.#watch(far);
  }

  detach(end: OwnEnd, side: Side): void {
    end.sides.delete(side);
    if (end.sides.size === 0) for (const far of end.lists.keys()) this.#unwatch(far);
  }

  #verdictOf({ verdict }: ResolvedRule, former: NumberedVerdict | null): NumberedVerdict | null {
    if (verdict === null) return null;
    return former !== null && sameVerdict(former.verdict, verdict) ? former : this.#tables.newVerdict(verdict);
  }

  /** Some side looks at the set: its networks become peers. */
  #watch(set: PeerSet): void {
    if (set.watchers++ > 0) return;
    for (const group of set.groups) if (isNetworkGroup(group)) this.#networks.activate(group);
  }

  #unwatch(set: PeerSet): void {
    if (--set.watchers === 0) this.#idle.add(set);
  }

  /** The group of the segment's workloads. */
  setSegment(segment: Segment): SelectionGroup {
    const { selector } = segment;
    const matches = (labels: Parameters<typeof membershipOf>[1]) => membershipOf(segment, labels).kind === 'member';
    const group = this.#selections.setGroup(segmentKey(segment.name), selector === null ? null : { selector, matches });
    this.#networks.redefine(this.#networkGroup(segmentNetworksKey(segment.name), []), segment.networks);
    return group;
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
      if (set.uses === 0) {
        this.#peerSets.delete(set.key);
        if (set === this.#everybody) this.#everybody = null;
        for (const group of set.groups) group.peerSets.delete(set);
      }
      for (const group of set.groups) this.#sweepGroup(group);
    }
    this.#idle.clear();
  }

  #sweepGroup(group: Group): void {
    if (isNetworkGroup(group)) {
      if (![...group.peerSets].some(({ watchers }) => watchers > 0)) this.#networks.deactivate(group);
      if (group.peerSets.size === 0 && !group.key.startsWith(segmentNetworksPrefix))
        this.#networkGroups.delete(group.key);
    } else if (group.peerSets.size === 0 && group.key.startsWith(selectorPrefix)) {
      this.#selections.removeGroup(group as SelectionGroup);
    }
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
      own: { egress: null, ingress: null },
      seenBy: new Set(),
      watchers: 0,
      uses: 0,
    };
    this.#peerSets.set(set.key, set);
    if (everybody) this.#everybody = set;
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
      case 'hosts':
      case 'pods':
      case 'dns':
        throw new Error(`peers of kind ${peer.kind} are not compiled yet`);
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
