import type { PeerDocument, PortDocument, RuleDocument } from '../documents/document.ts';
import { documentLimits } from '../documents/field-schema.ts';
import { nameCharactersMax } from '../documents/names.ts';
import { protocolNumber } from '../model.ts';
import { addressBits, parsePrefix, prefixContains } from '../select/prefix.ts';
import { ClassSet } from './class-set.ts';
import type { FlowGroup } from './flow-groups.ts';
import type { LabelUnits } from './label-units.ts';
import { joinedNetworks } from './networks-joined.ts';
import type { Observed, Seen } from './observed.ts';
import { canonicalPortSet } from './port-set.ts';
import { networksPerRule } from './recommendation.ts';
import { Relation } from './rectangles.ts';

/** A rule before it has a name. */
export interface RuleDraft extends Seen {
  readonly from: readonly PeerDocument[];
  readonly to: readonly PeerDocument[];
  readonly ports: readonly PortDocument[];
  /** The same in as many rules as can be told apart, each with its own flows; itself alone where that is one. */
  readonly parts: () => readonly RuleDraft[];
}

/** Flows that no rule can describe. */
export interface Indescribable {
  readonly why: string;
  readonly flows: number;
}

export interface Drafted {
  readonly drafts: readonly RuleDraft[];
  readonly indescribable: readonly Indescribable[];
}

/** Rules for what was observed: groups that were seen on the same ports with the same others share one. */
export function draftRules(between: Iterable<Observed>, groups: readonly FlowGroup[], units: LabelUnits): Drafted {
  const drafting = new Drafting(groups, units);
  for (const observed of between) drafting.add(observed);
  return drafting.result();
}

/** What a pair of groups has in common with others: the ports that it was seen on. */
interface SamePorts {
  readonly ports: readonly PortDocument[];
  readonly relation: Relation;
  readonly seen: Map<number, Seen>;
}

/** Outside addresses that one group was seen with in one direction, and how. */
interface Outside {
  readonly group: number;
  readonly direction: 'from' | 'to';
  readonly byAddress: Map<string, Observed>;
}

class Drafting {
  readonly #groups: readonly FlowGroup[];
  readonly #units: LabelUnits;
  readonly #byPorts = new Map<string, SamePorts>();
  readonly #outside = new Map<string, Outside>();
  readonly #lost = new Map<string, number>();

  constructor(groups: readonly FlowGroup[], units: LabelUnits) {
    this.#groups = groups;
    this.#units = units;
  }

  add(observed: Observed): void {
    const [from, to] = [this.#groups[observed.from]!, this.#groups[observed.to]!];
    for (const end of [from, to]) if (end.kind === 'nameless') return this.#lose(end.why, flowsOf(observed));
    if (from.kind === 'address' && to.kind !== 'address') return this.#addOutside('from', observed, from.address);
    if (to.kind === 'address' && from.kind !== 'address') return this.#addOutside('to', observed, to.address);
    const { ports, seen } = this.#portsOf(observed.services);
    if (ports.length === 0) return undefined;
    const key = JSON.stringify(ports);
    let same = this.#byPorts.get(key);
    if (same === undefined) {
      same = { ports, relation: new Relation(this.#groups.length), seen: new Map() };
      this.#byPorts.set(key, same);
    }
    same.relation.add(observed.from, observed.to);
    same.seen.set(this.#pairKey(observed.from, observed.to), seen);
    return undefined;
  }

  #addOutside(direction: 'from' | 'to', observed: Observed, address: string): void {
    const group = direction === 'from' ? observed.to : observed.from;
    const key = `${direction} ${group}`;
    let outside = this.#outside.get(key);
    if (outside === undefined) this.#outside.set(key, (outside = { group, direction, byAddress: new Map() }));
    outside.byAddress.set(address, observed);
  }

  #lose(why: string, flows: number): void {
    this.#lost.set(why, (this.#lost.get(why) ?? 0) + flows);
  }

  result(): Drafted {
    const drafts = [...this.#insideDrafts(), ...this.#outsideDrafts()];
    return { drafts, indescribable: [...this.#lost].map(([why, flows]) => ({ why, flows })) };
  }

  *#insideDrafts(): Generator<RuleDraft> {
    for (const { ports, relation, seen } of this.#byPorts.values()) {
      for (const { from, to } of relation.rectangles()) {
        const pairs = [...from].flatMap((source) =>
          [...to].map((destination) => ({ source, destination, seen: seen.get(this.#pairKey(source, destination))! })),
        );
        const parts = (): readonly RuleDraft[] =>
          pairs.map((pair) => {
            const own = { from: this.#peers([pair.source]), to: this.#peers([pair.destination]) };
            return whole({ ...own, ports, ...pair.seen });
          });
        yield* limited(
          { from: this.#peers(from), to: this.#peers(to), ports, ...sumOf(pairs.map((pair) => pair.seen)) },
          parts,
        );
      }
    }
  }

  #pairKey(from: number, to: number): number {
    return from * this.#groups.length + to;
  }

  /** Addresses seen on the same ports are one rule, as networks. */
  *#outsideDrafts(): Generator<RuleDraft> {
    for (const { group, direction, byAddress } of this.#outside.values()) {
      const inside = this.#peers([group]);
      const samePorts = new Map<string, { ports: readonly PortDocument[]; seen: Map<string, Seen> }>();
      for (const [address, { services }] of byAddress) {
        const { ports, seen } = this.#portsOf(services);
        if (ports.length === 0) continue;
        const key = JSON.stringify(ports);
        const same = samePorts.get(key);
        if (same === undefined) samePorts.set(key, { ports, seen: new Map([[address, seen]]) });
        else same.seen.set(address, seen);
      }
      for (const { ports, seen } of samePorts.values()) {
        const networks = joinedNetworks(seen.keys(), networksPerRule);
        const draft = (cidrs: readonly string[], own: Seen): Omit<RuleDraft, 'parts'> => {
          const outside = cidrs.map((cidr) => ({ cidr }));
          const [from, to] = direction === 'from' ? [outside, inside] : [inside, outside];
          return { from, to, ports, ...own };
        };
        const parts = (): readonly RuleDraft[] =>
          seenIn(networks, seen).map(([cidr, own]) => whole(draft([cidr], own)));
        yield* limited(draft(networks, sumOf(seen.values())), parts);
      }
    }
  }

  /** Segments by name, workloads of none by labels that only these have, where there are such. */
  #peers(set: Iterable<number>): readonly PeerDocument[] {
    const peers: PeerDocument[] = [];
    const wanted = new ClassSet(this.#units.size);
    for (const number of set) {
      const group = this.#groups[number]!;
      if (group.kind === 'segment') peers.push({ segment: group.segment });
      else if (group.kind === 'host') peers.push({ host: true });
      else if (group.kind === 'dns') peers.push({ dns: group.name });
      else if (group.kind === 'labels') wanted.add(group.unit.number);
    }
    const selectors = this.#units.selectorsOf(wanted, wanted);
    return [...peers, ...selectors.map(({ selector }): PeerDocument => ({ selector: { matchLabels: selector } }))];
  }

  /** Ports as documents say them, and how often those were seen. What no document can say is lost, and counted. */
  #portsOf(services: ReadonlyMap<number, Seen>): { ports: readonly PortDocument[]; seen: Seen } {
    const seen = { flows: 0, groups: 0 };
    const spans: { protocol: number; from: number; to: number }[] = [];
    for (const [service, own] of services) {
      const [protocol, port] = [service >>> 16, service & 65_535];
      const fault = serviceFault(protocol, port);
      if (fault !== null) {
        this.#lose(fault, own.flows);
        continue;
      }
      addSeen(seen, own);
      spans.push({ protocol, from: port, to: port });
    }
    const isTyped = (protocol: number): boolean =>
      protocol === protocolNumber.icmp || protocol === protocolNumber.icmpv6;
    const typed = spans
      .filter(({ protocol }) => isTyped(protocol))
      .sort((a, b) => a.protocol - b.protocol || a.from - b.from);
    const merged = canonicalPortSet(
      spans.filter(({ protocol }) => !isTyped(protocol)),
      null,
    ).spans;
    return { ports: [...merged, ...typed].map(portDocument), seen };
  }
}

function flowsOf({ services }: Observed): number {
  return services.values().reduce((sum, { flows }) => sum + flows, 0);
}

function addSeen(sum: Seen, seen: Seen): void {
  sum.flows += seen.flows;
  sum.groups += seen.groups;
}

const protocolNames = new Map<number, keyof typeof protocolNumber>(
  Object.entries(protocolNumber).map(([name, number]) => [number, name as keyof typeof protocolNumber]),
);

function serviceFault(protocol: number, port: number): string | null {
  const name = protocolNames.get(protocol);
  if (name === undefined) return `the protocol ${protocol} has no name in documents`;
  return port === 0 && name !== 'icmp' && name !== 'icmpv6' ? `no rule can name port 0 of ${name}` : null;
}

function portDocument({ protocol, from, to }: { protocol: number; from: number; to: number }): PortDocument {
  const name = protocolNames.get(protocol)!;
  if (name === 'icmp' || name === 'icmpv6') return { protocol: name, type: from >> 8, code: from & 255 };
  return from === to ? { protocol: name, port: from } : { protocol: name, port: from, endPort: to };
}

/** A draft that cannot be taken apart. */
function whole(draft: Omit<RuleDraft, 'parts'>): RuleDraft {
  const self: RuleDraft = { ...draft, parts: () => [self] };
  return self;
}

/** As several rules where a list would be longer than documents allow. The flows are told with the first. */
function* limited(draft: Omit<RuleDraft, 'parts'>, parts: RuleDraft['parts']): Generator<RuleDraft> {
  let { flows, groups } = draft;
  for (const from of slices(draft.from, documentLimits.peersMax)) {
    for (const to of slices(draft.to, documentLimits.peersMax)) {
      for (const ports of slices(draft.ports, documentLimits.portsMax)) {
        const slice = { from, to, ports, flows, groups };
        const isAll =
          from.length === draft.from.length && to.length === draft.to.length && ports.length === draft.ports.length;
        yield isAll ? { ...slice, parts } : whole(slice);
        [flows, groups] = [0, 0];
      }
    }
  }
}

/** What was seen of the addresses in each network. */
function seenIn(
  networks: readonly string[],
  byAddress: ReadonlyMap<string, Seen>,
): readonly (readonly [string, Seen])[] {
  const addresses = [...byAddress].map(([address, seen]) => ({ bits: addressBits(address) ?? '', seen }));
  return networks.map((cidr) => {
    const parsed = parsePrefix(cidr);
    const bits = parsed.kind === 'prefix' ? parsed.prefix.bits : '';
    return [cidr, sumOf(addresses.filter((one) => prefixContains(bits, one.bits)).map(({ seen }) => seen))] as const;
  });
}

function sumOf(all: Iterable<Seen>): Seen {
  const sum = { flows: 0, groups: 0 };
  for (const seen of all) addSeen(sum, seen);
  return sum;
}

function* slices<Item>(items: readonly Item[], length: number): Generator<readonly Item[]> {
  for (let start = 0; start < items.length; start += length) yield items.slice(start, start + length);
}

/** The draft as a rule with a name that no other has. */
export function namedRule(draft: RuleDraft, taken: Set<string>): RuleDocument {
  const base = `${peersName(draft.from)}-to-${peersName(draft.to)}`.slice(0, nameCharactersMax - suffixLengthMax);
  let name = base;
  for (let count = 2; taken.has(name); count++) name = `${base}-${count}`;
  taken.add(name);
  const single = (peers: readonly PeerDocument[]) => (peers.length === 1 ? peers[0]! : [...peers]);
  return { name, action: 'allow', from: single(draft.from) as never, to: single(draft.to), ports: [...draft.ports] };
}

const suffixLengthMax = 8;
const peerNameMax = 24;

function peersName(peers: readonly PeerDocument[]): string {
  const [first] = peers;
  if (first === undefined) return 'nobody';
  const name = peerName(first)
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .slice(0, peerNameMax)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '');
  return (name === '' ? 'peer' : name) + (peers.length > 1 ? `-and-${peers.length - 1}` : '');
}

function peerName(peer: PeerDocument): string {
  if (peer.segment !== undefined) return peer.segment;
  if (peer.dns !== undefined) return peer.dns;
  if (peer.cidr !== undefined) return peer.cidr;
  if (peer.selector !== undefined) return Object.values(peer.selector.matchLabels ?? {}).join('-');
  return peer.host === true ? 'host' : 'any';
}
