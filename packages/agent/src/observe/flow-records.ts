/** Kernel events and connections as flow records: who, why, when. */
import type { Connection, ConnectionKey, KernelEvent } from '@bulkhead/kernel';
import { partyNamesMax, type FlowRecord, type StagedVerdict } from '@bulkhead/protocol';
import type { RuleNumbers } from '../desired/rule-numbers.ts';
import type { Parties } from '../parties.ts';
import type { Attribution } from '../questions/attributions.ts';
import type { StagedJudge } from './staged-judge.ts';

export interface FlowContext {
  readonly parties: Parties;
  readonly rules: RuleNumbers;
  /** Short name of this boot of the machine: the kernel's clock starts anew with each. */
  readonly boot: string;
  /** The revision of a verdict, from what the programs stamped and who decided. */
  readonly revisionOf: (stamped: number, reasons: readonly string[]) => number;
  readonly attributionOf: (key: ConnectionKey) => Attribution | null;
  /** Milliseconds since the epoch at kernel time 0. */
  readonly epochMs: () => number;
  /** Names by which whoever has the slot has learnt an address outside. */
  readonly namesOf: (slot: number, address: string) => readonly string[];
  readonly staged: StagedJudge;
  /** The rule with this number asks. */
  readonly asks: (rule: number) => boolean;
}

interface Ends {
  readonly key: ConnectionKey;
  readonly sourceSlot: number;
  readonly destinationSlot: number;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  readonly egressRule: number;
  readonly ingressRule: number;
  readonly revision: number;
}

/** A connection as the table shows it: open, or closed when it was swept. */
export function connectionFlow(context: FlowContext, connection: Connection, state: 'open' | 'closed'): FlowRecord {
  return {
    ...attributed(context, { ...connection, key: connection }, admitted(context, connection)),
    id: connectionId(context.boot, connection, connection.firstSeenNs),
    verdict: 'allow',
    dropReason: null,
    firstMs: wallMs(context, connection.firstSeenNs),
    lastMs: wallMs(context, connection.lastSeenNs),
    packets: numbers(connection.packets),
    bytes: numbers(connection.bytes),
    state,
  };
}

export function openedFlow(context: FlowContext, event: KernelEvent): FlowRecord {
  const atMs = wallMs(context, event.atNs);
  return {
    ...attributed(context, event, admitted(context, event)),
    id: connectionId(context.boot, event.key, event.atNs),
    verdict: 'allow',
    dropReason: null,
    firstMs: atMs,
    lastMs: atMs,
    packets: [1, 0],
    bytes: [event.bytes, 0],
    state: 'new',
  };
}

export function closedFlow(context: FlowContext, event: KernelEvent): FlowRecord {
  return {
    ...attributed(context, event, admitted(context, event)),
    id: connectionId(context.boot, event.key, event.firstSeenNs),
    verdict: 'allow',
    dropReason: null,
    firstMs: wallMs(context, event.firstSeenNs),
    lastMs: wallMs(context, event.atNs),
    packets: numbers(event.totalPackets),
    bytes: numbers(event.totalBytes),
    state: 'closed',
  };
}

/** What did not pass. `dropReason` where something other than policy stopped it. `observed`: it did pass, and would not have. */
export function refusedFlow(context: FlowContext, event: KernelEvent): FlowRecord {
  const atMs = wallMs(context, event.atNs);
  const isPolicy = event.kind === 'deny';
  const { reason } = event;
  const isRejected =
    rejecting.has(reason) || (reason === 'refused' && context.attributionOf(event.key)?.verdict === 'reject');
  const verdict = isRejected ? 'reject' : 'deny';
  const isAsked = reason === 'refused' || (event.observed && asksEither(context, event));
  return {
    ...attributed(context, event, isPolicy ? (isAsked ? 'ask' : verdict) : null),
    id: connectionId(context.boot, event.key, event.atNs),
    verdict,
    dropReason: event.observed ? 'observed' : isPolicy && policyReasons.has(reason) ? null : reason,
    firstMs: atMs,
    lastMs: atMs,
    packets: [1, 0],
    bytes: [event.bytes, 0],
    state: 'closed',
  };
}

/** Counters that say no more than that the rules said no. */
const policyReasons = new Set(['denied', 'rejected', 'refused', 'no_row', 'observed_denied']);
/** Counters of packets that were answered with a refusal. */
const rejecting = new Set(['rejected', 'live_reset']);

/** What the rules say of what passed: a question was answered where one of them asks. */
function admitted(context: FlowContext, ends: Pick<Ends, 'egressRule' | 'ingressRule'>): 'allow' | 'ask' {
  return asksEither(context, ends) ? 'ask' : 'allow';
}

function asksEither({ asks }: FlowContext, ends: Pick<Ends, 'egressRule' | 'ingressRule'>): boolean {
  return asks(ends.egressRule) || asks(ends.ingressRule);
}

/** `enforced`: what the rules in force say; null where it was not for them to say. */
function attributed(
  context: FlowContext,
  ends: Ends,
  enforced: StagedVerdict['verdict'] | null,
): Pick<
  FlowRecord,
  'source' | 'destination' | 'protocol' | 'egressReason' | 'ingressReason' | 'question' | 'staged' | 'revision'
> {
  const { parties, rules, attributionOf } = context;
  const { key, sourceSlot, destinationSlot, sourceIdentity, destinationIdentity } = ends;
  const source = parties.of(sourceSlot, sourceIdentity, key.source).workload;
  const destination = parties.of(destinationSlot, destinationIdentity, key.destination).workload;
  const egressReason = sideText(rules, sourceSlot, ends.egressRule);
  const ingressReason = sideText(rules, destinationSlot, ends.ingressRule);
  const names = destination === null ? context.namesOf(sourceSlot, key.destination).slice(0, partyNamesMax) : [];
  return {
    source: { workload: source, identity: sourceIdentity, address: key.source, port: key.sourcePort },
    destination: {
      workload: destination,
      identity: destinationIdentity,
      address: key.destination,
      port: key.destinationPort,
      ...(names.length === 0 ? {} : { names }),
    },
    protocol: key.protocol,
    egressReason,
    ingressReason,
    question: attributionOf(key)?.question ?? null,
    staged: stagedVerdict(context, { ...ends, names }, enforced),
    revision: context.revisionOf(ends.revision, [egressReason, ingressReason]),
  };
}

/** What staged policies would make of the flow, at the ends that are judged here; null where that is what is enforced. */
function stagedVerdict(
  { staged, rules }: FlowContext,
  ends: Ends & { readonly names: readonly string[] },
  enforced: StagedVerdict['verdict'] | null,
): StagedVerdict | null {
  if (!staged.isActive || enforced === null) return null;
  const { key, sourceSlot, destinationSlot, names } = ends;
  const isGuard = (rule: number): boolean => {
    const reason = rules.reasonOf(rule);
    return reason?.kind === 'builtin' && reason.name === 'lock-out-guard';
  };
  const found = staged.judge({
    source: { identity: ends.sourceIdentity, address: key.source, subject: sourceSlot !== 0 },
    destination: { identity: ends.destinationIdentity, address: key.destination, subject: destinationSlot !== 0 },
    protocol: key.protocol,
    port: key.destinationPort,
    names,
    guarded: { egress: isGuard(ends.egressRule), ingress: isGuard(ends.ingressRule) },
  });
  return found?.verdict === enforced ? null : found;
}

/** A side that is no endpoint of this host is not judged here. */
function sideText(rules: RuleNumbers, slot: number, rule: number): string {
  return slot === 0 ? 'builtin:not-a-subject' : rules.textOf(rule);
}

/** The same for every record of one connection, whichever way it came to be known. */
function connectionId(boot: string, key: ConnectionKey, firstSeenNs: bigint): string {
  return `${boot}.${firstSeenNs.toString(36)}.${keyDigest(key)}`;
}

/** 53 bits of the 5-tuple: with the nanosecond it began at, enough to tell connections of one host apart. */
function keyDigest({ protocol, source, sourcePort, destination, destinationPort }: ConnectionKey): string {
  const text = `${protocol} ${source} ${sourcePort} ${destination} ${destinationPort}`;
  let [high, low] = [0x811c9dc5, 0x9e3779b9];
  for (let index = 0; index < text.length; index++) {
    high = Math.imul(high ^ text.charCodeAt(index), 0x01000193);
    low = Math.imul(low ^ text.charCodeAt(index), 0x85ebca6b) ^ (low >>> 13);
  }
  return ((high >>> 0) * 2 ** 21 + ((low >>> 0) & 0x1fffff)).toString(36);
}

function wallMs({ epochMs }: FlowContext, atNs: bigint): number {
  return epochMs() + Number(atNs / 1000n) / 1000;
}

function numbers([a, b]: readonly [bigint, bigint]): [number, number] {
  return [Number(a), Number(b)];
}
