/** From a row of a search to the flow that people see. */
import type { StoredFlow, StoredParty } from '@bulkhead/protocol';
import { stagedVerdicts, states, verdicts } from './messages.ts';

/** A row of `flows`: numbers stand for ends and texts. */
export interface PageRow {
  readonly arrival: number;
  readonly sort_value: number;
  readonly id: string | null;
  readonly host: number;
  readonly source: number;
  readonly source_address: string | null;
  readonly source_port: number;
  readonly destination: number;
  readonly destination_address: string | null;
  readonly destination_port: number;
  readonly protocol: number;
  readonly verdict: number;
  readonly egress_reason: number;
  readonly ingress_reason: number;
  readonly drop_reason: number;
  readonly question: string | null;
  readonly revision: number;
  readonly first_ms: number;
  readonly last_ms: number;
  readonly packets_out: number;
  readonly packets_in: number;
  readonly bytes_out: number;
  readonly bytes_in: number;
  readonly state: number;
  readonly staged: number;
  readonly staged_egress_reason: number;
  readonly staged_ingress_reason: number;
}

/** A row of `ends`. */
export interface StoredEnd {
  readonly number: number;
  readonly workload: string | null;
  readonly identity: number;
  readonly name: string | null;
  readonly labels: string;
  readonly segments: string;
  readonly names: string;
}

export interface Meanings {
  readonly ends: ReadonlyMap<number, StoredEnd>;
  readonly texts: ReadonlyMap<number, string>;
}

/** What the numbers of these rows mean must be looked up before `storedFlowOf`. */
export function numbersIn(rows: readonly PageRow[]): {
  readonly ends: ReadonlySet<number>;
  readonly texts: ReadonlySet<number>;
} {
  const texts = rows.flatMap((row) => [
    ...[row.host, row.egress_reason, row.ingress_reason, row.drop_reason],
    ...[row.staged_egress_reason, row.staged_ingress_reason],
  ]);
  return { ends: new Set(rows.flatMap((row) => [row.source, row.destination])), texts: new Set(texts) };
}

export function storedFlowOf(row: PageRow, { ends, texts }: Meanings): StoredFlow {
  const verdict = verdicts[row.verdict];
  const state = states[row.state];
  const staged = stagedVerdicts[row.staged];
  const [source, destination] = [ends.get(row.source), ends.get(row.destination)];
  if (verdict === undefined || state === undefined || staged === undefined)
    throw new Error(`the flow ${row.id} is stored with an unknown verdict or state`);
  if (source === undefined || destination === undefined) throw new Error(`the flow ${row.id} has lost its ends`);
  const text = (number: number): string => (texts.get(number) ?? '').trim();
  return {
    id: row.id ?? '',
    host: text(row.host),
    source: party(source, row.source_address, row.source_port),
    destination: party(destination, row.destination_address, row.destination_port),
    protocol: row.protocol,
    verdict,
    egressReason: text(row.egress_reason),
    ingressReason: text(row.ingress_reason),
    dropReason: row.drop_reason === 0 ? null : text(row.drop_reason),
    question: row.question,
    staged:
      staged === null
        ? null
        : {
            verdict: staged,
            egressReason: text(row.staged_egress_reason),
            ingressReason: text(row.staged_ingress_reason),
          },
    revision: row.revision,
    firstMs: row.first_ms,
    lastMs: row.last_ms,
    packets: [row.packets_out, row.packets_in],
    bytes: [row.bytes_out, row.bytes_in],
    state,
  };
}

function party(end: StoredEnd, address: string | null, port: number): StoredParty {
  const { workload, identity, name } = end;
  const names = namesOf(end);
  const known = names.length === 0 ? {} : { names };
  return { workload, identity, address: address ?? '', port, ...known, name, ...claimsOf(end) };
}

/** Names that were learnt for an address outside. */
export function namesOf({ names }: Pick<StoredEnd, 'names'>): string[] {
  return JSON.parse(names) as string[];
}

/** Labels and segments of a stored end. */
export function claimsOf({
  labels,
  segments,
}: Pick<StoredEnd, 'labels' | 'segments'>): Pick<StoredParty, 'labels' | 'segments'> {
  return {
    labels: JSON.parse(labels) as Record<string, string>,
    segments: segments
      .split('|')
      .map((segment) => segment.trim())
      .filter(Boolean),
  };
}
