/** What a host says about its workloads, and what of it is taken. A host speaks only for itself. */
import { factPrefix } from '@bulkhead/policy';
import { claimedAddress } from './addresses.ts';
import type { Labels } from '@bulkhead/policy';
import type { WorkloadReport } from '@bulkhead/protocol';
import type { LabelsAllowed } from '../store/commands.ts';
import type { HostEntry } from '../hosts/hosts-state.ts';
import type { InventoryState } from './inventory-state.ts';

export interface AcceptedReport {
  /** As it is kept: with no more claims than were looked at. */
  readonly report: WorkloadReport;
  readonly labels: Labels;
  readonly addresses: readonly string[];
  readonly problems: readonly string[];
}

export type Judged =
  | { readonly kind: 'accepted'; readonly accepted: AcceptedReport }
  /** Nothing of the report is taken: it is about a workload that is not this host's. */
  | { readonly kind: 'foreign'; readonly why: string };

/** Most labels of one workload. More are refused, so that no workload can fill the inventory. */
export const labelsMax = 128;
/** Problems of one workload that are told; of the others, how many there are. */
export const problemsMax = 50;

/** `labelFault` says what is wrong with a key and value as labels, null when nothing is. */
export function judgeReport(
  host: Pick<HostEntry, 'host' | 'labelsAllowed' | 'addressesAllowed'>,
  report: WorkloadReport,
  state: InventoryState,
  labelFault: (key: string, value: string) => string | null,
): Judged {
  if (!report.workload.startsWith(`${host.host}/`)) {
    return { kind: 'foreign', why: `host ${host.host} may not report workload ${report.workload}` };
  }
  const problems: string[] = [];
  const labels: Record<string, string> = {};
  const claims = Object.entries(report.labels).slice(0, labelsMax);
  for (const [key, value] of claims) {
    const fault = claimFault(key, value, host.labelsAllowed) ?? labelFault(key, value);
    if (fault === null) labels[key] = value;
    else problems.push(`label ${key}: ${fault}`);
  }
  const excess = Object.keys(report.labels).length - labelsMax;
  if (excess > 0) problems.push(`${excess} labels beyond the first ${labelsMax} were not taken`);
  const addresses: string[] = [];
  for (const text of report.endpoints.flatMap((endpoint) => endpoint.addresses)) {
    const claimed = claimedAddress(text, host.addressesAllowed);
    if (claimed.kind === 'local') continue;
    if (claimed.kind === 'refused') {
      problems.push(`address ${text}: ${claimed.why}`);
      continue;
    }
    const { address } = claimed;
    const holder = state.addresses.get(address);
    // Only across hosts: a host may move an address between its own workloads in one report.
    const foreign = holder !== undefined && !holder.startsWith(`${host.host}/`);
    if (foreign) problems.push(`address ${address}: held by ${holder}`);
    else addresses.push(address);
  }
  const kept = excess > 0 ? { ...report, labels: Object.fromEntries(claims) } : report;
  const known = { ...labels, ...facts(host.host, report) };
  return { kind: 'accepted', accepted: { report: kept, labels: known, addresses, problems: bounded(problems) } };
}

function bounded(problems: readonly string[]): readonly string[] {
  const more = problems.length - problemsMax;
  return more <= 0 ? problems : [...problems.slice(0, problemsMax), `and ${more} more`];
}

/** Facts come from what was measured, and always win over claims. */
export function facts(host: string, report: WorkloadReport): Labels {
  return {
    [`${factPrefix}host`]: host,
    [`${factPrefix}class`]: report.isolationClass,
    [`${factPrefix}boundary`]: report.boundary,
    [`${factPrefix}engine`]: report.engine,
    ...(report.imageDigest === null ? {} : { [`${factPrefix}image`]: report.imageDigest }),
  };
}

function claimFault(key: string, value: string, allowed: LabelsAllowed): string | null {
  if (key.startsWith(factPrefix)) return 'a fact cannot be claimed';
  if (allowed === null) return null;
  const values = Object.hasOwn(allowed, key) ? allowed[key] : undefined;
  if (values === undefined) return 'this host may not assert it';
  return values.includes('*') || values.includes(value) ? null : `this host may not assert the value ${value}`;
}
