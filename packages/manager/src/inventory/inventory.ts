/** The inventory: takes what hosts report into the ledger, and answers about workloads from memory. */
import { isDeepStrictEqual } from 'node:util';
import { addressFacts, factPrefix, guardFact, isAddressFact } from '@bulkhead/policy';
import { planIdentities } from './identities.ts';
import { judgeReport } from './report.ts';
import type { Labels } from '@bulkhead/policy';
import type { WorkloadReport } from '@bulkhead/protocol';
import type { Committer, Proposed } from '../store/committer.ts';
import type { Command, InventoryEntry } from '../store/commands.ts';
import type { State } from '../store/state.ts';
import type { HostView, InventoryView, WorkloadView } from '../services.ts';

/** An identity without workloads is kept so long, in case the same labels come back (a restarted container). */
export const identityGraceMs = 10 * 60_000;
/** Most identities released in one batch. */
const releaseMax = 10_000;
/** Most workloads of one host. More are not taken, and so stay denied: no host fills the inventory of all. */
export const workloadsPerHostMax = 10_000;

/** What the inventory needs to know of policy. */
export interface PolicyReader {
  /** Label keys that some document reads. */
  labelKeys(): ReadonlySet<string>;
  /** Names of the segments that a workload with these labels is in. */
  segmentsOf(labels: Labels): readonly string[];
  /** Names of the segments that a machine with these facts is in. */
  segmentsOfHost(labels: Labels): readonly string[];
  labelFault(key: string, value: string): string | null;
}

export interface HostReport {
  readonly full: boolean;
  readonly set: readonly WorkloadReport[];
  readonly removed: readonly string[];
}

export class Inventory implements InventoryView {
  readonly #committer: Committer;
  readonly #policy: PolicyReader;
  readonly #confirmedRevision: () => number;
  readonly #saidOf: (host: string) => Labels;
  /** Identity → since when nobody has it. */
  #factKeys: ReadonlySet<string> | null = null;
  #factsOf: ((addresses: readonly string[]) => Labels) | null = null;
  readonly #unreferencedSince = new Map<number, number>();

  /** `saidOf`: what a host's agent says about the host itself. */
  constructor(
    committer: Committer,
    policy: PolicyReader,
    confirmedRevision: () => number,
    saidOf: (host: string) => Labels = () => ({}),
  ) {
    this.#committer = committer;
    this.#policy = policy;
    this.#confirmedRevision = confirmedRevision;
    this.#saidOf = saidOf;
  }

  /** Resolves when the report is durable, with what was refused. */
  async report(host: string, report: HostReport): Promise<readonly string[]> {
    const committed = await this.#committer.commit(`host/${host}`, (state) => this.#propose(state, host, report));
    return committed.result;
  }

  workload(id: string): WorkloadView | null {
    const entry = this.#committer.state.inventory.workloads.get(id);
    return entry === undefined ? null : this.view(entry);
  }

  host(name: string): HostView {
    const said = Object.entries(this.#saidOf(name)).filter(
      ([key, value]) => mayBeSaid(key) && this.#policy.labelFault(key, value) === null,
    );
    const labels = { ...Object.fromEntries(said), 'bulkhead.dev/host': name };
    return { name, labels, segments: this.#policy.segmentsOfHost(labels) };
  }

  view(entry: InventoryEntry): WorkloadView {
    const { report } = entry;
    return {
      workload: report.workload,
      name: report.name,
      host: entry.host,
      identity: entry.identity,
      generation: report.generation,
      labels: this.#labelsOf(entry),
      segments: this.#policy.segmentsOf(entry.labels),
      isolationClass: report.isolationClass,
      boundary: report.boundary,
      image: report.image,
      imageDigest: report.imageDigest,
    };
  }

  /** With the facts about its addresses that documents read now. */
  #labelsOf({ labels, addresses }: Pick<InventoryEntry, 'labels' | 'addresses'>): Labels {
    const keys = this.#policy.labelKeys();
    if (keys !== this.#factKeys) {
      this.#factKeys = keys;
      this.#factsOf = [...keys].some(isAddressFact) ? addressFacts(keys) : null;
    }
    return this.#factsOf === null ? labels : { ...labels, ...this.#factsOf(addresses) };
  }

  /** Releases identities that nobody has had for `identityGraceMs`. Called now and then; returns how many went. */
  async sweep(nowMs: number): Promise<number> {
    const { identities } = this.#committer.state.inventory;
    for (const [identity, entry] of identities) {
      if (entry.references > 0) this.#unreferencedSince.delete(identity);
      else if (!this.#unreferencedSince.has(identity)) this.#unreferencedSince.set(identity, nowMs);
    }
    const due = [...this.#unreferencedSince].filter(([, sinceMs]) => nowMs - sinceMs >= identityGraceMs);
    if (due.length === 0) return 0;
    const committed = await this.#committer.commit('manager', (state): Proposed<number> => {
      const free = due
        .map(([identity]) => identity)
        .filter((identity) => state.inventory.identities.get(identity)?.references === 0)
        .slice(0, releaseMax);
      return {
        commands: free.length === 0 ? [] : [{ kind: 'identities-released', identities: free }],
        result: free.length,
      };
    });
    for (const [identity] of due) this.#unreferencedSince.delete(identity);
    return committed.result;
  }

  #propose(state: State, host: string, report: HostReport): Proposed<readonly string[]> {
    const enrolled = state.hosts.hosts.get(host);
    if (enrolled === undefined || enrolled.revoked !== null)
      return { commands: [], result: [`host ${host} is not enrolled`] };
    const problems: string[] = [];
    const accepted: Omit<InventoryEntry, 'identity'>[] = [];
    const removed = this.#removedBy(state, host, report, problems);
    const held = new Set(state.inventory.workloadsByHost.get(host)).difference(new Set(removed));
    for (const workload of report.set) {
      const judged = judgeReport(enrolled, workload, state.inventory, this.#policy.labelFault);
      if (judged.kind === 'foreign') problems.push(judged.why);
      else if (!held.has(workload.workload) && held.size >= workloadsPerHostMax) {
        problems.push(`workload ${workload.workload}: host ${host} has more than ${workloadsPerHostMax} workloads`);
      } else {
        held.add(workload.workload);
        accepted.push({ host, ...judged.accepted });
      }
    }
    const governed = accepted.filter((entry) => entry.report.governance !== 'ungoverned');
    const plan = planIdentities(
      state.inventory,
      governed.map((entry) => [entry.report.workload, this.#labelsOf(entry)] as const),
      this.#policy.labelKeys(),
      this.#confirmedRevision(),
    );
    if (plan.kind === 'exhausted')
      return { commands: [], result: ['there is no identity left for a new set of labels'] };
    const entries = accepted
      .map((entry): InventoryEntry => ({ ...entry, identity: plan.identityOf.get(entry.report.workload) ?? 0 }))
      .filter((entry) => !isDeepStrictEqual(state.inventory.workloads.get(entry.report.workload), entry));
    const commands: Command[] = [];
    if (plan.allocated.length > 0) commands.push({ kind: 'identities-allocated', identities: plan.allocated });
    if (entries.length > 0 || removed.length > 0) commands.push({ kind: 'workloads', set: entries, removed });
    return { commands, result: [...problems, ...entries.flatMap((entry) => entry.problems)] };
  }

  /** What the report removes: by name, and in a full report everything of the host that it does not name. */
  #removedBy(state: State, host: string, report: HostReport, problems: string[]): readonly string[] {
    const removed = new Set<string>();
    for (const id of report.removed) {
      if (!id.startsWith(`${host}/`)) problems.push(`host ${host} may not remove workload ${id}`);
      else if (state.inventory.workloads.has(id)) removed.add(id);
    }
    if (report.full) {
      const named = new Set(report.set.map((workload) => workload.workload));
      for (const id of state.inventory.workloadsByHost.get(host) ?? []) if (!named.has(id)) removed.add(id);
    }
    return [...removed];
  }
}

/** Of facts about a host its agent says only which ports its guard keeps open. */
function mayBeSaid(key: string): boolean {
  return !key.startsWith(factPrefix) || Object.values(guardFact).includes(key);
}
