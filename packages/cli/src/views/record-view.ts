/** Differences, revisions, audit lines, tokens: the smaller lists. */
import type { RouteOutput } from '@bulkhead/protocol';
import type { Column } from '../output/table.ts';
import { age, clock } from '../output/units.ts';

export type DivergenceRow = RouteOutput<'listDivergences'>['items'][number];
export type RevisionRow = RouteOutput<'listRevisions'>['items'][number];
export type AuditRow = RouteOutput<'listAudit'>['items'][number];
export type TokenRow = RouteOutput<'listTokens'>['items'][number];
export type EnrolmentRow = RouteOutput<'listEnrolmentTokens'>['items'][number];

const until = (endMs: number | null, nowMs: number): string => (endMs === null ? 'never' : age(nowMs, endMs));

export function divergenceColumns(nowMs: number): readonly Column<DivergenceRow>[] {
  return [
    { title: 'LAST', value: (row) => age(row.lastMs, nowMs), tone: () => 'dim', align: 'right' },
    { title: 'KIND', value: (row) => row.kind, tone: (row) => (row.resolved ? 'dim' : 'warn') },
    { title: 'HOST', value: (row) => row.host, shrinkTo: 8 },
    { title: 'WORKLOAD', value: (row) => row.workload?.split('/').at(-1)?.slice(0, 12) ?? '-', shrinkTo: 12 },
    { title: 'BELIEVED', value: (row) => row.believed, shrinkTo: 20 },
    { title: 'OBSERVED', value: (row) => row.observed, shrinkTo: 20 },
    { title: 'COUNT', value: (row) => String(row.count), align: 'right' },
    { title: 'EVIDENCE', value: (row) => row.evidence, wide: true, shrinkTo: 20 },
  ];
}

export function revisionColumns(nowMs: number): readonly Column<RevisionRow>[] {
  return [
    { title: 'REVISION', value: (row) => String(row.revision), align: 'right' },
    { title: 'TIME', value: (row) => clock(row.atMs, nowMs), tone: () => 'dim' },
    { title: 'BY', value: (row) => row.by },
    { title: 'CHANGES', value: (row) => row.changes.join('; '), shrinkTo: 20 },
  ];
}

export function auditColumns(nowMs: number): readonly Column<AuditRow>[] {
  return [
    { title: 'LINE', value: (row) => String(row.sequence), align: 'right' },
    { title: 'TIME', value: (row) => clock(row.atMs, nowMs), tone: () => 'dim' },
    { title: 'WHO', value: (row) => row.actor, shrinkTo: 12 },
    { title: 'DID', value: (row) => row.action },
    { title: 'TO', value: (row) => row.subject, shrinkTo: 16 },
    { title: 'DETAILS', value: (row) => JSON.stringify(row.details), wide: true, shrinkTo: 20 },
    { title: 'HASH', value: (row) => row.hash.slice(0, 16), wide: true },
  ];
}

export function tokenColumns(nowMs: number): readonly Column<TokenRow>[] {
  return [
    { title: 'ID', value: (row) => row.id },
    { title: 'NAME', value: (row) => row.name },
    { title: 'ROLE', value: (row) => row.role },
    { title: 'SCOPE', value: (row) => row.scope?.join(',') ?? 'everything', shrinkTo: 12 },
    { title: 'ENDS IN', value: (row) => until(row.expiresMs, nowMs), align: 'right' },
    { title: 'BY', value: (row) => row.by },
  ];
}

export function enrolmentColumns(nowMs: number): readonly Column<EnrolmentRow>[] {
  return [
    { title: 'ID', value: (row) => row.id },
    { title: 'HOST', value: (row) => row.host ?? 'any' },
    {
      title: 'LABELS',
      value: (row) => (row.labelsAllowed === null ? 'any' : Object.keys(row.labelsAllowed).join(',')),
      shrinkTo: 12,
    },
    { title: 'ENDS IN', value: (row) => until(row.expiresMs, nowMs), align: 'right' },
    { title: 'BY', value: (row) => row.by },
  ];
}
