import { createCompiler } from '../compile/compiler.ts';
import { builtin, decideSide, isSubject, peersMatch, segmentsOfParty } from '../decide/decide.ts';
import { guardSpans } from '../decide/lock-out-guard.ts';
import {
  type CompiledSubject,
  type Direction,
  type Flow,
  type IdentityId,
  identityFirst,
  type Party,
  type PeerId,
  type PortTable,
  protocolNumber,
  reservedIdentity,
} from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { rulesInOrder } from '../resolve/rules-in-order.ts';
import { namedPortSpans, type PortSpan, type RulePorts } from '../resolve/ports.ts';
import { addressBits, parsePrefix } from '../select/prefix.ts';
import type { ClassSet } from './class-set.ts';
import type { PartyClass } from './classifier.ts';
import { piecesOf } from './port-set.ts';

const notASubject: PortTable = { key: 'not-a-subject', ranges: [], otherwise: builtin('allow', 'not-a-subject') };

/**
 * What a policy set says about connections between classes, by side, as functions of protocol and port: compiled tables, with one
 * subject for each class of workloads. Equal objects are equal functions.
 */
export class PairJudge {
  readonly #set: PolicySet;
  readonly #classes: readonly PartyClass[];
  readonly #compiler = createCompiler();
  readonly #subjects: (CompiledSubject | undefined)[] = [];
  readonly #peers: (PeerId | undefined)[] = [];
  readonly #subjectKinds: (boolean | undefined)[] = [];
  readonly #decided = new Map<string, PortTable>();
  #known = 0;
  #prefixes: ReadonlyMap<string, PeerId> = new Map();

  /** `classes` may grow; `prepare` brings the tables up to date with them. */
  constructor(set: PolicySet, classes: readonly PartyClass[]) {
    this.#set = set;
    this.#classes = classes;
    this.#compiler.update({ policySet: set });
  }

  get policySet(): PolicySet {
    return this.#set;
  }

  /** Makes the tables of the classes that came since the last time; of these alone that are `asked` about, where that is said. */
  prepare(asked: ClassSet | null = null): void {
    if (this.#known === this.#classes.length) return;
    const added = this.#classes.slice(this.#known).filter(({ index }) => asked?.has(index) ?? true);
    this.#known = this.#classes.length;
    const identities = added.flatMap(({ index, party }) =>
      party.kind === 'workload' ? [[identityOf(index), party.labels] as const] : [],
    );
    this.#compiler.update({
      identities: { set: identities },
      subjects: { added: identities.map(([identity]) => identity) },
    });
    for (const [identity] of identities) this.#subjects[identity - identityFirst] = this.#compiler.subject(identity);
    this.#prefixes = new Map(this.#compiler.cidrs().map(({ cidr, peer }) => [bitsOf(cidr), peer]));
    this.#peers.length = 0;
  }

  egress(from: number, to: number): PortTable {
    return this.#side('egress', from, to);
  }

  ingress(from: number, to: number): PortTable {
    return this.#side('ingress', to, from);
  }

  #side(direction: Direction, subject: number, peer: number): PortTable {
    if (!this.#isSubject(subject)) return notASubject;
    if (this.#classes[subject]!.party.kind !== 'workload' || isSpecialPeer(this.#classes[peer]!.party))
      return this.#decide(direction, subject, peer);
    const compiled = this.#subjects[subject]?.[direction];
    if (compiled === undefined) throw new Error(`the class ${subject} has no tables: prepare was not called`);
    return compiled.rows.get(this.#peer(peer)) ?? compiled.others;
  }

  #isSubject(index: number): boolean {
    const { party } = this.#classes[index]!;
    return (this.#subjectKinds[index] ??= isSubject(party, segmentsOfParty(this.#set, party)));
  }

  #peer(index: number): PeerId {
    return (this.#peers[index] ??= this.#peerOf(this.#classes[index]!));
  }

  #peerOf({ index, party }: PartyClass): PeerId {
    switch (party.kind) {
      case 'workload':
        return identityOf(index) as number as PeerId;
      case 'host':
        return reservedIdentity.host as number as PeerId;
      case 'unknown':
        return reservedIdentity.unknown as number as PeerId;
      case 'address':
        return this.#peerOfAddress(party.address);
    }
  }

  #peerOfAddress(address: string): PeerId {
    const bits = addressBits(address) ?? '';
    for (let length = bits.length; length > 0; length--) {
      const peer = this.#prefixes.get(bits.slice(0, length));
      if (peer !== undefined) return peer;
    }
    return reservedIdentity.world as number as PeerId;
  }

  /** What compiled tables of workloads do not cover, from `decideSide` at every port where it can change. */
  #decide(direction: Direction, subject: number, peer: number): PortTable {
    const key = `${direction} ${subject} ${peer}`;
    let table = this.#decided.get(key);
    if (table === undefined) {
      table = decidedTable(this.#set, direction, this.#classes[subject]!.party, this.#classes[peer]!.party);
      this.#decided.set(key, table);
    }
    return table;
  }
}

function identityOf(index: number): IdentityId {
  return (identityFirst + index) as IdentityId;
}

/** A host that is told from others, and an address with a name, are not in the tables of workloads. */
function isSpecialPeer(party: Party): boolean {
  return (
    (party.kind === 'host' && party.labels !== undefined) || (party.kind === 'address' && party.names !== undefined)
  );
}

function bitsOf(cidr: string): string {
  const parsed = parsePrefix(cidr);
  if (parsed.kind === 'refused') throw new Error(`the compiler gave the prefix ${cidr}: ${parsed.reason}`);
  return parsed.prefix.bits;
}

const nameQueries: readonly PortSpan[] = [protocolNumber.tcp, protocolNumber.udp].map((protocol) => ({
  protocol,
  from: 53,
  to: 53,
}));
/** A protocol that no document can name. */
const unnamedProtocol = 253;

function decidedTable(set: PolicySet, direction: Direction, subject: Party, peer: Party): PortTable {
  const [source, destination] = direction === 'egress' ? [subject, peer] : [peer, subject];
  const namedSpans = ({ namedPorts }: RulePorts): readonly PortSpan[] =>
    destination.kind === 'workload' ? namedPorts.flatMap((named) => namedPortSpans(destination.labels, named)) : [];
  const spans = rulesInOrder(set)
    .flatMap(([, rules]) => rules)
    .filter((rule) => rule[direction] && peersMatch(set, rule.from, source) && peersMatch(set, rule.to, destination))
    .flatMap((rule) => [...(rule.ports ?? []), ...namedSpans(rule)]);
  if (subject.kind === 'host') spans.push(...guardSpans(direction, subject.labels ?? {}));
  const at = (protocol: number, port: number) => {
    const flow: Flow = { source, destination, protocol, port };
    return decideSide(set, direction, flow);
  };
  const otherwise = at(unnamedProtocol, 0);
  const { pieces } = piecesOf([], [...spans, ...nameQueries]);
  const ranges = pieces.map(({ protocol, from, to }) => ({ protocol, from, to, verdict: at(protocol, from) }));
  return { key: '', ranges, otherwise };
}
