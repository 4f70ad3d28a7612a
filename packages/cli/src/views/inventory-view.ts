/** Workloads, hosts and identities. */
import type { RouteOutput } from '@bulkhead/protocol';
import type { Tone } from '../output/paint.ts';
import type { Column, DescribeItem } from '../output/table.ts';
import { age, bytes, clock, duration, labelsText } from '../output/units.ts';

export type WorkloadRow = RouteOutput<'listWorkloads'>['items'][number];
export type HostRow = RouteOutput<'listHosts'>['items'][number];
export type HostDetail = RouteOutput<'getHost'>;
export type IdentityRow = RouteOutput<'listIdentities'>['items'][number];

/** An engine's long id as people know it from the engine's own command line. */
const networkText = (network: string): string =>
  network === '' ? '(no network)' : /^[0-9a-f]{64}$/.test(network) ? network.slice(0, 12) : network;

const governanceTone = (row: WorkloadRow): Tone =>
  row.governance === 'governed' ? 'good' : row.governance === 'observed' ? 'warn' : 'bad';

const addresses = (row: WorkloadRow): string =>
  row.endpoints.flatMap((endpoint) => endpoint.addresses).join(',') || '-';

/** Claimed labels only: facts are in `describe`, and would make every row long. */
const claimed = (labels: Readonly<Record<string, string>>): string =>
  labelsText(Object.fromEntries(Object.entries(labels).filter(([key]) => !key.startsWith('bulkhead.dev/'))));

export function workloadColumns(nowMs: number): readonly Column<WorkloadRow>[] {
  return [
    { title: 'NAME', value: (row) => row.name, shrinkTo: 12 },
    { title: 'HOST', value: (row) => row.host, shrinkTo: 8 },
    { title: 'STATE', value: (row) => row.governance, tone: governanceTone },
    { title: 'SEGMENTS', value: (row) => row.segments.join(',') || '-', shrinkTo: 10 },
    { title: 'ADDRESSES', value: addresses, shrinkTo: 15 },
    { title: 'AGE', value: (row) => (row.startedMs === null ? '-' : age(row.startedMs, nowMs)), align: 'right' },
    { title: 'LABELS', value: (row) => claimed(row.labels), shrinkTo: 10 },
    { title: 'REASON', value: (row) => row.ungovernedBecause ?? '', tone: () => 'warn', shrinkTo: 12 },
    { title: 'CLASS', value: (row) => row.isolationClass, wide: true },
    { title: 'BOUNDARY', value: (row) => row.boundary, wide: true },
    { title: 'IDENTITY', value: (row) => String(row.identity), wide: true, align: 'right' },
    { title: 'IMAGE', value: (row) => row.image ?? '-', wide: true },
    { title: 'WORKLOAD', value: (row) => row.workload, wide: true },
  ];
}

export function describeWorkload(row: WorkloadRow, nowMs: number): readonly DescribeItem[] {
  const problems = row.ungovernedBecause === null ? row.problems : [row.ungovernedBecause, ...row.problems];
  return [
    { kind: 'field', name: 'Name', value: row.name },
    { kind: 'field', name: 'Workload', value: row.workload },
    { kind: 'field', name: 'Host', value: row.host },
    { kind: 'field', name: 'State', value: row.governance, tone: governanceTone(row) },
    { kind: 'field', name: 'Segments', value: row.segments.join(', ') || 'none: everything is denied' },
    { kind: 'field', name: 'Labels', value: labelsText(row.labels) || 'none' },
    { kind: 'field', name: 'Identity', value: row.identity === 0 ? 'none' : String(row.identity) },
    { kind: 'field', name: 'Generation', value: String(row.generation) },
    { kind: 'field', name: 'Isolation', value: `${row.isolationClass}, boundary: ${row.boundary}` },
    { kind: 'field', name: 'Image', value: row.image ?? 'unknown' },
    { kind: 'field', name: 'Digest', value: row.imageDigest ?? 'unknown' },
    { kind: 'field', name: 'Engine', value: row.engine },
    { kind: 'field', name: 'Started', value: row.startedMs === null ? 'unknown' : clock(row.startedMs, nowMs) },
    {
      kind: 'section',
      title: 'Endpoints',
      lines: row.endpoints.map(
        (endpoint) => `${networkText(endpoint.network)}  ${endpoint.mac}  ${endpoint.addresses.join(' ')}`,
      ),
    },
    ...(problems.length === 0 ? [] : [{ kind: 'section' as const, title: 'Problems', lines: problems }]),
  ];
}

const hostState = (row: HostRow): string => {
  if (row.revoked !== null) return 'revoked';
  if (row.connectedSinceMs === null) return 'away';
  if (row.enforcing === false) return 'OFF';
  return row.behind === 0 ? 'current' : 'behind';
};
const hostTone = (row: HostRow): Tone => ({ current: 'good', behind: 'warn' }[hostState(row)] as Tone) ?? 'bad';

export function hostColumns(nowMs: number): readonly Column<HostRow>[] {
  return [
    { title: 'HOST', value: (row) => row.host, shrinkTo: 10 },
    { title: 'STATE', value: hostState, tone: hostTone },
    { title: 'REVISION', value: (row) => (row.receipt === null ? '-' : String(row.receipt.revision)), align: 'right' },
    { title: 'BEHIND', value: (row) => (row.behind === null ? '-' : String(row.behind)), align: 'right' },
    {
      title: 'ENFORCED IN',
      value: (row) => (row.receipt === null ? '-' : duration(row.receipt.enforcedMs)),
      align: 'right',
    },
    { title: 'WORKLOADS', value: (row) => String(row.workloads), align: 'right' },
    { title: 'MEMORY', value: (row) => (row.residentBytes === null ? '-' : bytes(row.residentBytes)), align: 'right' },
    {
      title: 'LAST SEEN',
      value: (row) => (row.lastSeenMs === null ? 'never' : age(row.lastSeenMs, nowMs)),
      align: 'right',
    },
    {
      title: 'CERTIFICATE',
      value: (row) => (row.certificateEndsMs === null ? '-' : age(nowMs, row.certificateEndsMs)),
      align: 'right',
      wide: true,
    },
    { title: 'KERNEL', value: (row) => row.kernel ?? '-', wide: true },
    { title: 'EVENTS LOST', value: (row) => String(row.eventsLost ?? '-'), align: 'right', wide: true },
  ];
}

export function describeHost(row: HostDetail, nowMs: number): readonly DescribeItem[] {
  const when = (ms: number | null): string => (ms === null ? 'never' : clock(ms, nowMs));
  const { boundaries, receipt } = row;
  const counters = Object.entries(row.counters).filter(([, count]) => count > 0);
  return [
    { kind: 'field', name: 'Host', value: row.host },
    { kind: 'field', name: 'State', value: hostState(row), tone: hostTone(row) },
    {
      kind: 'field',
      name: 'Segments',
      value: row.segments.length === 0 ? 'none: the host itself is not judged' : row.segments.join(', '),
    },
    { kind: 'field', name: 'Labels', value: labelsText(row.labels) },
    { kind: 'field', name: 'Enrolled', value: when(row.enrolledMs) },
    { kind: 'field', name: 'Connected since', value: when(row.connectedSinceMs) },
    { kind: 'field', name: 'Last seen', value: when(row.lastSeenMs) },
    { kind: 'field', name: 'Certificate until', value: when(row.certificateEndsMs) },
    { kind: 'field', name: 'Kernel', value: row.kernel ?? 'unknown' },
    { kind: 'field', name: 'Software', value: row.software ?? 'unknown' },
    {
      kind: 'field',
      name: 'Workloads',
      value: `${row.workloads} (boundary: ${boundaries.hardware} hardware, ${boundaries.emulated} emulated, ${boundaries.none} none)`,
    },
    ...(receipt === null
      ? [{ kind: 'field' as const, name: 'Receipt', value: 'none yet' }]
      : [
          {
            kind: 'field' as const,
            name: 'Receipt',
            value: `revision ${receipt.revision}, in ${duration(receipt.enforcedMs)}, ${receipt.endpoints} endpoints, ${receipt.rows} rows`,
          },
        ]),
    ...(row.revoked === null
      ? []
      : [
          {
            kind: 'field' as const,
            name: 'Revoked',
            value: `${clock(row.revoked.atMs, nowMs)} by ${row.revoked.by}: ${row.revoked.because}`,
          },
        ]),
    ...(receipt === null || receipt.failed.length === 0
      ? []
      : [{ kind: 'section' as const, title: 'Not applied, so denied', lines: receipt.failed }]),
    {
      kind: 'section',
      title: 'Counters',
      lines: counters.map(([name, count]) => `${name}: ${count.toLocaleString('en')}`),
    },
  ];
}

export const identityColumns: readonly Column<IdentityRow>[] = [
  { title: 'IDENTITY', value: (row) => String(row.identity), align: 'right' },
  { title: 'WORKLOADS', value: (row) => String(row.workloads), align: 'right' },
  { title: 'SEGMENTS', value: (row) => row.segments.join(',') || '-', shrinkTo: 10 },
  { title: 'LABELS', value: (row) => labelsText(row.labels), shrinkTo: 16 },
];
