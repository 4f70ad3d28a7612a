/** The collector: every few seconds both views are gathered and compared, and what changed is reported. */
import { readFile, readlink } from 'node:fs/promises';
import type { InterfaceInfo } from '@bulkhead/kernel';
import type { AttachContext } from '../model.ts';
import { tableName } from '../nat/ruleset.ts';
import { differences, type BelievedWorkload, type ObservedEndpoint, type Wire } from './compare.ts';
import { DivergenceLedger } from './ledger.ts';
import { ServedPorts } from './served-ports.ts';

/** What an engine believes, as an attachment tells it. `pid` is the first process of a running workload, in the agent's view. */
export interface Belief {
  readonly workload: BelievedWorkload;
  readonly pid: number | null;
}

const roundMs = 5_000;
const openMax = 10_000;
const updateMs = 60_000;
/** Spoofing is told as long as it went on within so long. */
const spoofingMs = 300_000;
const transient: ReadonlySet<string> = new Set(['missing-on-wire', 'unknown-workload', 'foreign-address']);

export class DivergenceWatch implements AsyncDisposable {
  readonly #context: AttachContext;
  readonly #beliefs: () => readonly Belief[] | null;
  readonly #ledger: DivergenceLedger;
  readonly #served = new ServedPorts();
  readonly #unknownSince = new Map<string, number>();
  readonly #spoofed = new Map<string, { readonly base: number; last: number; changedMs: number }>();
  readonly #unsubscribe: readonly (() => void)[];
  readonly #timer: NodeJS.Timeout;
  #unjudgedBase: ReadonlyMap<string, number> | null = null;
  #seenBefore: ReadonlySet<string> = new Set();
  #running: Promise<void> | null = null;

  /** `beliefs` gives null while an engine was not yet asked: then nothing is known to be different. */
  constructor(context: AttachContext, beliefs: () => readonly Belief[] | null) {
    this.#context = context;
    this.#beliefs = beliefs;
    this.#ledger = new DivergenceLedger({ host: context.host, openMax, updateMs });
    this.#unsubscribe = [
      context.onFlow((flow) => this.#served.see(flow)),
      context.registry.onChange((change) => {
        if (change.kind === 'workload-removed') this.#served.forget(change.workload.workload);
      }),
    ];
    this.#timer = setInterval(() => void this.round().catch((error: unknown) => this.#report(error)), roundMs);
    this.#timer.unref();
  }

  /** One comparison; also called by tests and by `bulkhead divergence --now`. */
  round(): Promise<void> {
    this.#running ??= this.#compare().finally(() => (this.#running = null));
    return this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await this.#running?.catch(() => undefined);
  }

  async #compare(): Promise<void> {
    const nowMs = this.#context.nowMs();
    const beliefs = this.#beliefs();
    if (beliefs === null) return;
    const interfaces = await this.#context.kernel.routes.interfaces();
    const wire: Wire = {
      endpoints: this.#endpoints(new Map(interfaces.map((found) => [found.ifindex, found])), nowMs),
      served: this.#served.current(nowMs),
      runs: await firstProcesses(beliefs),
      unjudged: await this.#unjudged(),
    };
    const found = differences(
      beliefs.map(({ workload }) => workload),
      wire,
    );
    // The engine and the registry are not read in one instant: what looks amiss while a container starts or stops must last a round.
    const lasting = found.filter(({ kind, id }) => !transient.has(kind) || this.#seenBefore.has(id));
    this.#seenBefore = new Set(found.map(({ id }) => id));
    for (const record of this.#ledger.round(lasting, nowMs)) this.#context.reportDivergence(record);
  }

  #endpoints(interfaces: ReadonlyMap<number, InterfaceInfo>, nowMs: number): readonly ObservedEndpoint[] {
    const { registry, kernel } = this.#context;
    const endpoints = registry.endpoints();
    const present = new Set(endpoints.map(({ endpoint }) => endpoint));
    for (const known of [this.#unknownSince, this.#spoofed]) {
      for (const endpoint of known.keys()) if (!present.has(endpoint)) known.delete(endpoint);
    }
    return endpoints.map((endpoint) => {
      if (endpoint.workload !== null) this.#unknownSince.delete(endpoint.endpoint);
      else if (!this.#unknownSince.has(endpoint.endpoint)) this.#unknownSince.set(endpoint.endpoint, nowMs);
      const spoofed = Number(kernel.maps.endpointCounters(endpoint.slot).get('spoofed') ?? 0n);
      return {
        ...{ endpoint: endpoint.endpoint, workload: endpoint.workload, interfaceName: endpoint.interfaceName },
        interfaceUp: interfaces.get(endpoint.ifindex)?.up ?? false,
        addresses: [endpoint.ipv4, endpoint.ipv6].filter((address) => address !== null),
        spoofed: this.#recentlySpoofed(endpoint.endpoint, spoofed, nowMs),
        unknownForMs: nowMs - (this.#unknownSince.get(endpoint.endpoint) ?? nowMs),
      };
    });
  }

  #recentlySpoofed(endpoint: string, count: number, nowMs: number): number {
    const known = this.#spoofed.get(endpoint);
    // Counters of a slot begin anew with its next endpoint.
    if (known === undefined || count < known.last) {
      this.#spoofed.set(endpoint, { base: 0, last: count, changedMs: nowMs });
      return count;
    }
    if (count > known.last) Object.assign(known, { last: count, changedMs: nowMs });
    return nowMs - known.changedMs < spoofingMs ? known.last - known.base : 0;
  }

  /** Drops of the host's table since the agent began to look. */
  async #unjudged(): Promise<ReadonlyMap<string, number>> {
    const counts = unjudgedCounts((await this.#context.kernel.routes.ruleset(tableName)) ?? '');
    const base = this.#unjudgedBase;
    // The table was replaced, and counts from nothing.
    if (base === null || [...counts].some(([chain, count]) => count < (base.get(chain) ?? 0))) {
      this.#unjudgedBase = base === null ? counts : new Map();
      return base === null ? new Map([...counts.keys()].map((chain) => [chain, 0])) : counts;
    }
    return new Map([...counts].map(([chain, count]) => [chain, count - (base.get(chain) ?? 0)]));
  }

  #report(error: unknown): void {
    this.#context.log.warn({ error: String(error) }, 'engine and wire could not be compared');
  }
}

/** Packets dropped by the `unjudged_…` chains because of a missing mark, from nft's own listing. */
export function unjudgedCounts(listing: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  let chain: string | null = null;
  for (const line of listing.split('\n')) {
    chain = /^\s*chain (\w+) \{/.exec(line)?.[1] ?? chain;
    const dropped = /iifname .*meta mark .*counter packets (\d+) .*drop/.exec(line)?.[1];
    if (chain === null || !chain.startsWith('unjudged_') || dropped === undefined) continue;
    const name = chain.slice('unjudged_'.length);
    counts.set(name, (counts.get(name) ?? 0) + Number(dropped));
  }
  return counts;
}

/** The executable, or what the process calls itself where that is a sealed copy (runsc) or cannot be read. */
async function firstProcesses(beliefs: readonly Belief[]): Promise<ReadonlyMap<string, string | null>> {
  const runs = new Map<string, string | null>();
  for (const { workload, pid } of beliefs) {
    // The host's own kernel is all that this class promises.
    if (pid === null || workload.isolationClass === 'shared') continue;
    const executable = await readlink(`/proc/${pid}/exe`).catch(() => null);
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => null);
    runs.set(
      workload.workload,
      executable === null && line === null ? null : `${executable ?? ''} ${(line ?? '').split('\0')[0]}`.trim(),
    );
  }
  return runs;
}
