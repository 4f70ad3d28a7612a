/**
 * What policies that are only staged would make of flows. Tables of their own, and only while something is staged: nothing here leads to
 * the kernel. Tables of a workload are made when its first flow is recorded.
 */
import {
  combinedAction,
  type CompiledDirection,
  type CompiledSubject,
  type Compiler,
  createCompiler,
  type Direction,
  type IdentityId,
  type Labels,
  type PeerId,
  type PortTable,
  reasonText,
  reservedIdentity,
  type SideVerdict,
  stagedPolicySet,
} from '@bulkhead/policy';
import type { StagedVerdict } from '@bulkhead/protocol';
import type { DesiredChange, DesiredStore } from '../desired/store.ts';
import { PrefixTable } from '../plan/prefixes.ts';

/** First peer that is a network, or an address learnt by name: their numbers are the tables' own. */
const networkPeerFirst = 2 ** 24;

/** One end of a flow as the programs saw it; `subject`: its own rules are judged here. */
export interface StagedEnd {
  readonly identity: number;
  readonly address: string;
  readonly subject: boolean;
}

export interface StagedFlow {
  readonly source: StagedEnd;
  readonly destination: StagedEnd;
  readonly protocol: number;
  readonly port: number;
  /** By which the source has learnt the destination. */
  readonly names: readonly string[];
  /** Sides that the lock-out guard let pass: above every tier, so staged policies change nothing there. */
  readonly guarded: Readonly<Record<Direction, boolean>>;
}

const notJudgedHere: SideVerdict = { action: 'allow', reason: { kind: 'builtin', name: 'not-a-subject' } };
const guardAllows: SideVerdict = { action: 'allow', reason: { kind: 'builtin', name: 'lock-out-guard' } };
const unknown: SideVerdict = { action: 'deny', reason: { kind: 'builtin', name: 'unknown' } };

export class StagedJudge {
  readonly #store: Pick<DesiredStore, 'policySet' | 'identities'>;
  #host: Labels;
  #compiler: Compiler | null = null;
  #prefixes: PrefixTable | null = null;

  constructor(store: Pick<DesiredStore, 'policySet' | 'identities'>, host: Labels) {
    this.#store = store;
    this.#host = host;
    this.#begin();
  }

  /** Something is staged. */
  get isActive(): boolean {
    return this.#compiler !== null;
  }

  /** A rule that would count knows addresses by one of these names; by any, where none are given. */
  asksFor(names?: readonly string[]): boolean {
    return this.#compiler?.asksFor(names) === true;
  }

  /** The store took a revision. */
  changed({ identitiesSet, identitiesRemoved }: Pick<DesiredChange, 'identitiesSet' | 'identitiesRemoved'>): void {
    const policySet = stagedPolicySet(this.#store.policySet);
    if (policySet === null) this.#compiler = null;
    else if (this.#compiler === null) this.#begin();
    else {
      const set = identitiesSet.map((id) => [id as IdentityId, this.#store.identities.get(id)!] as const);
      this.#compiler.update({ policySet, identities: { set, removed: identitiesRemoved as readonly IdentityId[] } });
    }
    this.#prefixes = null;
  }

  /** Something else is known of this machine. */
  setHost(host: Labels): void {
    this.#host = host;
    this.#compiler?.update({ host });
    this.#prefixes = null;
  }

  /** What both ends together would say; null where nothing is staged, or whose rules they are is not known any more. */
  judge(flow: StagedFlow): StagedVerdict | null {
    const egress = this.#side('egress', flow);
    const ingress = this.#side('ingress', flow);
    if (egress === null || ingress === null) return null;
    const verdict = combinedAction(egress, ingress);
    return { verdict, egressReason: reasonText(egress.reason), ingressReason: reasonText(ingress.reason) };
  }

  #begin(): void {
    const policySet = stagedPolicySet(this.#store.policySet);
    if (policySet === null) return;
    this.#compiler = createCompiler();
    const set = [...this.#store.identities].map(([id, labels]) => [id as IdentityId, labels] as const);
    this.#compiler.update({ policySet, identities: { set }, host: this.#host });
  }

  #side(direction: Direction, flow: StagedFlow): SideVerdict | null {
    const compiler = this.#compiler;
    const [own, peer] = direction === 'egress' ? [flow.source, flow.destination] : [flow.destination, flow.source];
    if (compiler === null) return null;
    if (!own.subject) return notJudgedHere;
    if (flow.guarded[direction]) return guardAllows;
    if (own.identity === reservedIdentity.unknown || peer.identity === reservedIdentity.unknown) return unknown;
    const compiled = this.#tables(compiler, own.identity as IdentityId);
    if (compiled === undefined) return null;
    const isNamed = direction === 'egress' && compiled.learns && flow.names.length > 0 && isOutside(peer.identity);
    if (!isNamed) return verdictIn(compiled[direction], this.#peerOf(compiler, peer), flow);
    const { learnt } = compiler.learn([{ address: peer.address, names: flow.names }]);
    const named = learnt[0]!.peer ?? this.#peerOf(compiler, peer);
    const verdict = verdictIn(this.#tables(compiler, own.identity as IdentityId)![direction], named, flow);
    compiler.forget(learnt);
    return verdict;
  }

  #tables(compiler: Compiler, identity: IdentityId): CompiledSubject | undefined {
    const known = compiler.subject(identity);
    if (known !== undefined) return known;
    if (identity !== reservedIdentity.host && !this.#store.identities.has(identity)) return undefined;
    const { cidrs } = compiler.update({ subjects: { added: [identity] } });
    // Networks are peers while a subject's rules name them.
    if (cidrs.added.length + cidrs.removed.length > 0) this.#prefixes = null;
    return compiler.subject(identity);
  }

  #peerOf(compiler: Compiler, { identity, address }: StagedEnd): PeerId {
    if (!isOutside(identity)) return identity as PeerId;
    this.#prefixes ??= new PrefixTable(new Map(compiler.cidrs().map(({ cidr, peer }) => [cidr, peer])));
    return (this.#prefixes.match(address) ?? reservedIdentity.world) as PeerId;
  }
}

function isOutside(identity: number): boolean {
  return identity === reservedIdentity.world || identity >= networkPeerFirst;
}

function verdictIn({ rows, others }: CompiledDirection, peer: PeerId, { protocol, port }: StagedFlow): SideVerdict {
  return verdictAt(rows.get(peer) ?? others, protocol, port);
}

/** Ranges are sorted by protocol and first port, and disjoint. */
function verdictAt({ ranges, otherwise }: PortTable, protocol: number, port: number): SideVerdict {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const range = ranges[middle]!;
    if (range.protocol < protocol || (range.protocol === protocol && range.to < port)) low = middle + 1;
    else high = middle;
  }
  const found = ranges[low];
  return found !== undefined && found.protocol === protocol && found.from <= port ? found.verdict : otherwise;
}
