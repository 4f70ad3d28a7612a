/** Why a recorded flow was allowed or refused, by the documents that judged it and the labels that were recorded with it. */
import { decide, explain, explanationText, findRule, reasonText, reservedIdentity } from '@bulkhead/policy';
import type { Direction, Flow, Party, PolicySet, SideVerdict } from '@bulkhead/policy';
import type { FlowExplanation, FlowSideExplanation, StoredFlow, StoredParty } from '@bulkhead/protocol';

/** A revision that may have judged the flow; `set` resolves its documents. */
export interface Candidate {
  readonly revision: number;
  readonly set: () => PolicySet;
}

/** Of flows that passed, and would not have. */
const observed = 'observed';
/** Recorded where a side is judged by another host, or by nobody. */
const elsewhere = 'builtin:not-a-subject';

/**
 * `candidates`: the revision that the host reported first, then those that it may have been applying at that moment. Each side is
 * explained by the first that decides as was recorded; where none does, by the reported one, and `agrees` is false.
 */
export function explainFlow(flow: StoredFlow, candidates: readonly Candidate[]): FlowExplanation {
  const policyFlow = flowOf(flow);
  const sides = (['egress', 'ingress'] as const).map((direction) =>
    explainSide(flow, policyFlow, direction, candidates),
  );
  const [egress, ingress] = sides as [FlowSideExplanation, FlowSideExplanation];
  const newest = Math.max(egress.revision, ingress.revision);
  const set = candidates.find(({ revision }) => revision === newest)!.set();
  return {
    flow,
    verdict: flow.verdict,
    revision: newest,
    egress,
    ingress,
    notes: [...notesOf(flow), ...sides.flatMap((side) => sideNotes(side, flow))],
    lines: explanationText(explain(set, policyFlow)).split('\n'),
  };
}

function explainSide(
  flow: StoredFlow,
  policyFlow: Flow,
  direction: Direction,
  candidates: readonly Candidate[],
): FlowSideExplanation {
  const recorded = direction === 'egress' ? flow.egressReason : flow.ingressReason;
  const judged = (candidate: Candidate): SideVerdict => decide(candidate.set(), policyFlow)[direction];
  const reported = candidates[0]!;
  const subject = direction === 'egress' ? policyFlow.source : policyFlow.destination;
  // A host sees one end of what goes to another: that end's record is the other host's.
  const isUnjudged = flow.dropReason !== null && flow.dropReason !== observed;
  const isElsewhere = recorded === elsewhere && subject.kind === 'workload';
  const found =
    isElsewhere || isUnjudged
      ? reported
      : (candidates.find((candidate) => reasonText(judged(candidate).reason) === recorded) ??
        candidates.find((candidate) => reasonExists(candidate.set(), recorded)));
  const candidate = found ?? reported;
  const decided = judged(candidate);
  return {
    reason: recorded,
    revision: candidate.revision,
    exists: reasonExists(candidate.set(), recorded),
    agrees: isElsewhere || isUnjudged || reasonText(decided.reason) === recorded,
    elsewhere: isElsewhere,
    unjudged: isUnjudged,
    decided: { action: decided.action, reason: reasonText(decided.reason) },
  };
}

/** Whether a rule, posture or built-in of this name is in the documents. */
export function reasonExists(set: PolicySet, reason: string): boolean {
  const [head = '', rest = ''] = split(reason, ':');
  if (head === 'builtin') return builtins.has(rest);
  if (head === 'posture') {
    return rest.startsWith('namespace/')
      ? set.documents.Namespace.has(rest.slice('namespace/'.length))
      : set.segments.has(rest);
  }
  const [tier = '', named = ''] = split(reason, '/');
  const last = named.lastIndexOf('/');
  return last > 0 && findRule(set, { tier, policy: named.slice(0, last), rule: named.slice(last + 1) }) !== null;
}

const builtins: ReadonlySet<string> = new Set([
  ...['no-segment', 'resolver', 'not-a-subject', 'unknown', 'isolation', 'lock-out-guard'],
]);

function split(text: string, at: string): readonly [string, string] {
  const place = text.indexOf(at);
  return place < 0 ? [text, ''] : [text.slice(0, place), text.slice(place + 1)];
}

export function flowOf(flow: StoredFlow): Flow {
  return {
    source: partyOf(flow.source, flow.host),
    destination: partyOf(flow.destination, flow.host),
    protocol: flow.protocol,
    port: flow.destination.port,
  };
}

function partyOf(end: StoredParty, host: string): Party {
  if (end.identity === reservedIdentity.unknown) return { kind: 'unknown' };
  if (end.workload === 'host') return { kind: 'host', labels: { 'bulkhead.dev/host': host, ...end.labels } };
  if (end.workload === null) {
    return { kind: 'address', address: end.address, ...(end.names === undefined ? {} : { names: end.names }) };
  }
  return { kind: 'workload', labels: end.labels, ...(end.name === null ? {} : { name: end.name }) };
}

function notesOf(flow: StoredFlow): readonly string[] {
  const notes: string[] = [];
  if (flow.dropReason === observed) notes.push('It was only observed: it passed, and would not have.');
  else if (flow.dropReason !== null) {
    notes.push(`It was stopped for something other than policy, before that was asked: ${flow.dropReason}.`);
  }
  if (flow.question !== null) notes.push(`A question decided: ${flow.question}.`);
  return notes;
}

function sideNotes(side: FlowSideExplanation, flow: StoredFlow): readonly string[] {
  const notes: string[] = [];
  if (side.elsewhere) notes.push('One side was judged by the host of the other workload; its own record says how.');
  if (side.revision !== flow.revision)
    notes.push(`The host was applying revision ${side.revision} then; by it ${side.reason} decided.`);
  if (!side.agrees && side.reason !== '') {
    notes.push(
      `Recorded was ${side.reason}; with the labels recorded the documents say ${side.decided.reason}: labels changed meanwhile.`,
    );
  }
  return notes;
}
