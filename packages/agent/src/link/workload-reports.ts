/** What the manager is told of this host's workloads: everything when the link is new, then what changed. */
import type { AgentMessage, WorkloadReport } from '@bulkhead/protocol';
import { claimedLabels } from '../desired/known-labels.ts';
import type { LocalEndpoint, LocalWorkload } from '../model.ts';
import type { Registry } from '../registry/registry.ts';

/** Reports in one message, so that a frame is never too large. */
const reportsPerMessageMax = 1_000;
/** The schema's bounds. */
const endpointsMax = 32;
const claimsMax = 128;

export class WorkloadReports {
  readonly #registry: Registry;
  readonly #send: (message: AgentMessage) => boolean;
  readonly #changed = new Set<string>();
  /** As the manager has it: workload id → the report as it was sent. */
  readonly #told = new Map<string, string>();
  #isScheduled = false;
  #isFullDue = true;

  constructor(registry: Registry, send: (message: AgentMessage) => boolean) {
    this.#registry = registry;
    this.#send = send;
    registry.onChange((change) => {
      if ('workload' in change) this.#changed.add(change.workload.workload);
      else if (change.endpoint.workload !== null) this.#changed.add(change.endpoint.workload);
      this.#schedule();
    });
  }

  /** The link is new: the manager is told everything again. */
  linkReady(): void {
    this.#isFullDue = true;
    this.#flush();
  }

  /** What could not be sent because the link was slow. */
  retry(): void {
    this.#flush();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const byWorkload = Map.groupBy(this.#registry.endpoints(), ({ workload }) => workload);
    const reportOf = (workload: LocalWorkload): WorkloadReport =>
      reportOfWorkload(workload, byWorkload.get(workload.workload) ?? []);
    if (this.#isFullDue) this.#sendFull(this.#registry.workloads().map(reportOf));
    else this.#sendChanges(reportOf);
  }

  #sendFull(reports: readonly WorkloadReport[]): void {
    const parts = chunks(reports);
    const [first = [], ...rest] = parts;
    if (!this.#send({ type: 'workloads', body: { full: true, set: [...first], removed: [] } })) return;
    this.#isFullDue = !rest.every((set) =>
      this.#send({ type: 'workloads', body: { full: false, set: [...set], removed: [] } }),
    );
    if (this.#isFullDue) return;
    this.#told.clear();
    for (const report of reports) this.#told.set(report.workload, JSON.stringify(report));
    this.#changed.clear();
  }

  #sendChanges(reportOf: (workload: LocalWorkload) => WorkloadReport): void {
    if (this.#changed.size === 0) return;
    const set: WorkloadReport[] = [];
    const removed: string[] = [];
    for (const id of this.#changed) {
      const workload = this.#registry.workload(id);
      if (workload === undefined) {
        if (this.#told.has(id)) removed.push(id);
        continue;
      }
      const report = reportOf(workload);
      if (this.#told.get(id) !== JSON.stringify(report)) set.push(report);
    }
    for (const [index, part] of chunks(set).entries()) {
      const isSent = this.#send({
        type: 'workloads',
        body: { full: false, set: [...part], removed: index === 0 ? removed : [] },
      });
      if (!isSent) return;
    }
    if (
      set.length === 0 &&
      removed.length > 0 &&
      !this.#send({ type: 'workloads', body: { full: false, set, removed } })
    )
      return;
    for (const report of set) this.#told.set(report.workload, JSON.stringify(report));
    for (const id of removed) this.#told.delete(id);
    this.#changed.clear();
  }
}

function chunks(reports: readonly WorkloadReport[]): readonly (readonly WorkloadReport[])[] {
  const parts: WorkloadReport[][] = [];
  for (let at = 0; at < reports.length; at += reportsPerMessageMax)
    parts.push(reports.slice(at, at + reportsPerMessageMax));
  return parts;
}

function reportOfWorkload(workload: LocalWorkload, endpoints: readonly LocalEndpoint[]): WorkloadReport {
  const claims = Object.entries(claimedLabels(workload, endpoints)).slice(0, claimsMax);
  return {
    workload: workload.workload,
    name: workload.name.slice(0, 253),
    engine: workload.engine,
    labels: Object.fromEntries(claims),
    image: workload.image?.slice(0, 512) ?? null,
    imageDigest: workload.imageDigest,
    isolationClass: workload.isolationClass,
    boundary: workload.boundary,
    generation: workload.generation,
    endpoints: endpoints.slice(0, endpointsMax).map(({ endpoint, network, mac, ipv4, ipv6 }) => ({
      endpoint,
      network,
      mac,
      addresses: [ipv4, ipv6].filter((address) => address !== null),
    })),
    governance: workload.governance,
    ungovernedBecause: workload.ungovernedBecause?.slice(0, 1024) ?? null,
    startedMs: workload.startedMs,
  };
}
