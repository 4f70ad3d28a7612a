/** From a row of a search to the flow that people see. */
import type { StoredFlow, StoredParty } from '@bulkhead/protocol';
import { states, verdicts } from './messages.ts';

type EndPart = 'workload' | 'identity' | 'name' | 'labels' | 'segments';
type EndColumns<Prefix extends string> = {
  readonly [Part in EndPart as `${Prefix}_${Part}`]: Part extends 'identity' ? number : string | null;
};

export interface PageRow extends EndColumns<'s'>, EndColumns<'d'> {
  readonly arrival: number;
  readonly sort_value: number;
  readonly id: string | null;
  readonly host_text: string;
  readonly egress_text: string;
  readonly ingress_text: string;
  readonly drop_text: string | null;
  readonly source_address: string | null;
  readonly source_port: number;
  readonly destination_address: string | null;
  readonly destination_port: number;
  readonly protocol: number;
  readonly verdict: number;
  readonly question: string | null;
  readonly revision: number;
  readonly first_ms: number;
  readonly last_ms: number;
  readonly packets_out: number;
  readonly packets_in: number;
  readonly bytes_out: number;
  readonly bytes_in: number;
  readonly state: number;
}

export function storedFlowOf(row: PageRow): StoredFlow {
  const verdict = verdicts[row.verdict];
  const state = states[row.state];
  if (verdict === undefined || state === undefined)
    throw new Error(`the flow ${row.id} is stored with an unknown verdict or state`);
  return {
    id: row.id ?? '',
    host: row.host_text,
    source: party(
      row.s_workload,
      row.s_identity,
      row.s_name,
      row.s_labels,
      row.s_segments,
      row.source_address,
      row.source_port,
    ),
    destination: party(
      row.d_workload,
      row.d_identity,
      row.d_name,
      row.d_labels,
      row.d_segments,
      row.destination_address,
      row.destination_port,
    ),
    protocol: row.protocol,
    verdict,
    egressReason: row.egress_text.trim(),
    ingressReason: row.ingress_text.trim(),
    dropReason: row.drop_text,
    question: row.question,
    revision: row.revision,
    firstMs: row.first_ms,
    lastMs: row.last_ms,
    packets: [row.packets_out, row.packets_in],
    bytes: [row.bytes_out, row.bytes_in],
    state,
  };
}

function party(
  workload: string | null,
  identity: number,
  name: string | null,
  labels: string | null,
  segments: string | null,
  address: string | null,
  port: number,
): StoredParty {
  return {
    workload,
    identity,
    address: address ?? '',
    port,
    name,
    labels: JSON.parse(labels ?? '{}') as Record<string, string>,
    segments: (segments ?? '')
      .split('|')
      .map((segment) => segment.trim())
      .filter(Boolean),
  };
}
