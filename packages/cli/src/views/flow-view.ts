/** Flows as people read them: who to whom, which service, the verdict and why. */
import type { StoredFlow, StoredParty } from '@bulkhead/protocol';
import type { Tone } from '../output/paint.ts';
import type { Column, DescribeItem } from '../output/table.ts';
import { bytes, clock, labelsText, protocolText, serviceText } from '../output/units.ts';

/** The name of a workload, `host` for the machine; of others the address, behind the name by which the other side asked for it. */
export function partyText(party: Pick<StoredParty, 'workload' | 'name' | 'address' | 'names'>): string {
  if (party.workload === 'host') return `host (${party.address})`;
  const asked = party.names?.[0];
  return party.name ?? (asked === undefined ? party.address : `${asked} (${party.address})`);
}

export const verdictTone = (verdict: string): Tone =>
  verdict === 'allow' ? 'good' : verdict === 'pending' ? 'ask' : 'bad';

/**
 * What decided, in one line. The side that denied explains a denial; of an allowed flow the two sides are usually one rule. What was
 * dropped for something other than policy says that.
 */
export function whyText(
  flow: Pick<StoredFlow, 'verdict' | 'egressReason' | 'ingressReason' | 'dropReason' | 'question'>,
): string {
  const reasons = [flow.egressReason, flow.ingressReason].filter(
    (reason) => reason !== '' && reason !== 'builtin:not-a-subject',
  );
  const said = [...new Set(reasons)].join(' + ');
  const asked = flow.question === null ? said : `${said} (asked)`;
  if (flow.dropReason === null || flow.dropReason === '') return asked;
  return asked === '' ? flow.dropReason : `${flow.dropReason}: ${asked}`;
}

export function flowColumns(nowMs: number): readonly Column<StoredFlow>[] {
  return [
    { title: 'TIME', value: (flow) => clock(flow.lastMs, nowMs), tone: () => 'dim' },
    { title: 'FROM', value: (flow) => partyText(flow.source), shrinkTo: 10 },
    { title: 'TO', value: (flow) => partyText(flow.destination), shrinkTo: 10 },
    { title: 'SERVICE', value: (flow) => serviceText(flow.protocol, flow.destination.port) },
    { title: 'VERDICT', value: (flow) => flow.verdict, tone: (flow) => verdictTone(flow.verdict) },
    { title: 'STATE', value: (flow) => flow.state, tone: () => 'dim' },
    { title: 'FLOW', value: (flow) => flow.id, wide: true },
    { title: 'HOST', value: (flow) => flow.host, wide: true },
    { title: 'PACKETS', value: (flow) => flow.packets.join('/'), align: 'right', wide: true },
    { title: 'BYTES', value: (flow) => bytes(flow.bytes[0] + flow.bytes[1]), align: 'right' },
    { title: 'WHY', value: whyText, shrinkTo: 16 },
  ];
}

/** What staged policies would have made of flows. */
export function stagedColumns(nowMs: number): readonly Column<StoredFlow>[] {
  const staged = ({ staged: value }: StoredFlow): string => value?.verdict ?? 'the same';
  return [
    ...flowColumns(nowMs).filter(({ title }) => title !== 'WHY' && title !== 'STATE'),
    { title: 'STAGED', value: staged, tone: (flow) => verdictTone(staged(flow)) },
    { title: 'STAGED WHY', value: stagedText, shrinkTo: 16 },
  ];
}

function stagedText({ staged }: StoredFlow): string {
  return staged === null ? '' : whyText({ ...staged, verdict: 'allow', dropReason: null, question: null });
}

export function describeFlow(flow: StoredFlow, nowMs: number): readonly DescribeItem[] {
  const party = (name: string, value: StoredParty): readonly DescribeItem[] => [
    { kind: 'field', name, value: `${partyText(value)}  ${value.address}:${value.port}` },
    { kind: 'field', name: `${name} labels`, value: labelsText(value.labels) },
    { kind: 'field', name: `${name} segments`, value: value.segments.join(', ') || 'none' },
  ];
  return [
    { kind: 'field', name: 'Flow', value: `${flow.host} ${flow.id}` },
    ...party('From', flow.source),
    ...party('To', flow.destination),
    { kind: 'field', name: 'Service', value: serviceText(flow.protocol, flow.destination.port) },
    { kind: 'field', name: 'Verdict', value: flow.verdict, tone: verdictTone(flow.verdict) },
    { kind: 'field', name: "Sender's side", value: flow.egressReason },
    { kind: 'field', name: "Receiver's side", value: flow.ingressReason },
    ...(flow.dropReason === null ? [] : [{ kind: 'field' as const, name: 'Dropped for', value: flow.dropReason }]),
    ...(flow.question === null ? [] : [{ kind: 'field' as const, name: 'Question', value: flow.question }]),
    ...(flow.staged === null
      ? []
      : [{ kind: 'field' as const, name: 'Staged', value: `${flow.staged.verdict}  ${stagedText(flow)}` }]),
    { kind: 'field', name: 'Revision', value: String(flow.revision) },
    { kind: 'field', name: 'First seen', value: clock(flow.firstMs, nowMs) },
    { kind: 'field', name: 'Last seen', value: clock(flow.lastMs, nowMs) },
    { kind: 'field', name: 'Packets', value: `${flow.packets[0]} there, ${flow.packets[1]} back` },
    { kind: 'field', name: 'Bytes', value: `${bytes(flow.bytes[0])} there, ${bytes(flow.bytes[1])} back` },
    { kind: 'field', name: 'State', value: `${flow.state} (${protocolText(flow.protocol)})` },
  ];
}
