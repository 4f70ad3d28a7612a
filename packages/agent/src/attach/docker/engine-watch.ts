/**
 * Follows the engine: its events say that something changed, an inspection says what. When the stream breaks, everything is compared
 * again after it is back. The plugin never waits for this, and works without it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { containerFacts } from './container-facts.ts';
import { EngineError, type EngineApi, type EngineEvent, type NetworkSummary } from './engine-api.ts';
import type { WorkloadBook } from './workload-book.ts';
import type { EndpointRecord } from './docker-records.ts';

export interface EngineWatchOptions {
  readonly api: EngineApi;
  readonly book: WorkloadBook;
  readonly driver: string;
  readonly log: Logger;
  readonly endpoint: (endpoint: string) => EndpointRecord | undefined;
  /** True once the registry knows whose the endpoint is. */
  readonly isBound: (endpoint: string) => boolean;
  /** Containers, names or networks changed. */
  readonly onChange: () => void;
  /** All of the engine was seen: `endpoints` are those of our networks that it knows. */
  readonly onSynced: (seen: {
    readonly networks: readonly NetworkSummary[];
    readonly endpoints: ReadonlySet<string>;
  }) => Promise<void>;
}

const reconnectMinMs = 100;
const reconnectMaxMs = 5_000;
const inspectionsAtOnce = 8;
/** An endpoint that was joined is looked for so often, each time after twice as long; then only events and resyncs look. */
const bindAttempts = 8;
const bindFirstMs = 5;

export class EngineWatch implements AsyncDisposable {
  readonly #options: EngineWatchOptions;
  readonly #stop = new AbortController();
  readonly #networks = new Map<string, NetworkSummary>();
  /** By name, what runs and whether it has to run once more: bursts of events cost one inspection more, not one each. */
  readonly #tasks = new Map<string, { again: boolean; done: Promise<void> }>();
  #loop: Promise<void> = Promise.resolve();
  connected = false;
  /** All of the engine was seen at least once. */
  synced = false;

  constructor(options: EngineWatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#loop = this.#follow();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    await Promise.allSettled([...this.#tasks.values()].map(({ done }) => done));
  }

  /** Compares everything with the engine. Rejects with EngineError where it is away. */
  resync(): Promise<void> {
    return this.#once('resync', () => this.#resync());
  }

  /** The engine has been answered; its own record of the join follows within milliseconds, without an event of ours. */
  endpointJoined(record: EndpointRecord): void {
    void this.#bindSoon(record);
  }

  async #bindSoon(record: EndpointRecord): Promise<void> {
    for (let attempt = 0; attempt < bindAttempts && !this.#stop.signal.aborted; attempt++) {
      await delay(bindFirstMs * 2 ** attempt, undefined, { ref: false });
      if (this.#options.isBound(record.endpoint) || this.#options.endpoint(record.endpoint)?.sandbox !== record.sandbox)
        return;
      await this.#bindNetwork(record.network).catch((error: unknown) =>
        this.#report(error, `network ${record.network}`),
      );
    }
  }

  async #follow(): Promise<void> {
    let waitMs = reconnectMinMs;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const opened = () => {
          this.connected = true;
          waitMs = reconnectMinMs;
          this.#inBackground('resync', () => this.#resync());
        };
        await this.#options.api.events(opened, (event) => this.#handle(event), signal);
      } catch (error) {
        if (signal.aborted) return;
        if (this.connected) this.#options.log.warn({ error: String(error) }, 'the engine is away');
        this.connected = false;
        if (!(error instanceof EngineError)) throw error;
      }
      await delay(waitMs, undefined, { signal, ref: false }).catch(() => undefined);
      waitMs = Math.min(waitMs * 2, reconnectMaxMs);
    }
  }

  #handle(event: EngineEvent): void {
    const { Type, Action, Actor } = event;
    if (Type === 'network') {
      const container = Actor.Attributes?.['container'];
      if (Action === 'connect') this.#inBackground(`network ${Actor.ID}`, () => this.#bindNow(Actor.ID));
      if (Action === 'create' || Action === 'destroy') this.#inBackground('networks', () => this.#refreshNetworks());
      if (container !== undefined) this.#inBackground(container, () => this.#refresh(container));
      return;
    }
    // One that was destroyed is not found any more, and forgotten; all in one queue, so that an older answer never comes last.
    if (['create', 'start', 'die', 'rename', 'update', 'pause', 'unpause', 'destroy'].includes(Action)) {
      this.#inBackground(Actor.ID, () => this.#refresh(Actor.ID));
    }
  }

  async #resync(): Promise<void> {
    await this.#refreshNetworks();
    const containers = await this.#options.api.containerIds();
    await eachOf(containers, inspectionsAtOnce, (container) => this.#once(container, () => this.#refresh(container)));
    this.#options.book.keepOnly(new Set(await this.#options.api.containerIds()));
    const ours = [...this.#networks.values()].filter((network) => network.Driver === this.#options.driver);
    const endpoints = new Set<string>();
    for (const network of ours) for (const endpoint of await this.#bindNow(network.Id)) endpoints.add(endpoint);
    this.synced = true;
    await this.#options.onSynced({ networks: [...this.#networks.values()], endpoints });
    this.#options.log.info({ containers: containers.length, endpoints: endpoints.size }, 'compared with the engine');
    this.#options.onChange();
  }

  async #refreshNetworks(): Promise<void> {
    const networks = await this.#options.api.networks();
    this.#networks.clear();
    for (const network of networks) this.#networks.set(network.Id, network);
  }

  async #refresh(container: string): Promise<void> {
    const inspect = await this.#options.api.inspectContainer(container);
    if (inspect === undefined) {
      this.#options.book.remove(container);
    } else {
      const networkIds = Object.values(inspect.NetworkSettings.Networks).map((found) => found.NetworkID);
      if (networkIds.some((id) => id !== '' && !this.#networks.has(id))) await this.#refreshNetworks();
      const image = await this.#options.api.inspectImage(inspect.Image);
      const imageLabels = image === undefined ? null : (image.Config?.Labels ?? {});
      this.#options.book.set(containerFacts(inspect, this.#networks), imageLabels);
      for (const found of Object.values(inspect.NetworkSettings.Networks)) this.#bind(found.EndpointID, container);
    }
    this.#options.onChange();
  }

  #bindNetwork(network: string): Promise<void> {
    return this.#once(`network ${network}`, () => this.#bindNow(network));
  }

  /** Binds what the network's own record shows; returns the engine's endpoints on it. */
  async #bindNow(networkId: string): Promise<readonly string[]> {
    const network = await this.#options.api.inspectNetwork(networkId);
    if (network === undefined || network.Driver !== this.#options.driver) return [];
    const endpoints: string[] = [];
    for (const [container, { EndpointID }] of Object.entries(network.Containers ?? {})) {
      endpoints.push(EndpointID);
      if (container.startsWith('ep-')) continue;
      // Its `create` event was inspected; where that was missed, inspecting waits until the start is over, and so does its first packet.
      if (this.#options.book.facts(container) === undefined)
        this.#inBackground(container, () => this.#refresh(container));
      else this.#bind(EndpointID, container);
    }
    return endpoints;
  }

  #bind(endpoint: string, container: string): void {
    const record = this.#options.endpoint(endpoint);
    if (record === undefined || record.sandbox === null) return;
    this.#options.book.bind(endpoint, record.sandbox, container);
    this.#options.onChange();
  }

  /** What is asked for while the same runs is done once more afterwards; whoever asked waits for that. */
  #once(name: string, run: () => Promise<unknown>): Promise<void> {
    const task = this.#tasks.get(name);
    if (task !== undefined) {
      task.again = true;
      return task.done;
    }
    const entry = { again: true, done: Promise.resolve() };
    entry.done = (async () => {
      try {
        while (entry.again && !this.#stop.signal.aborted) {
          entry.again = false;
          await run();
        }
      } finally {
        this.#tasks.delete(name);
      }
    })();
    this.#tasks.set(name, entry);
    return entry.done;
  }

  #inBackground(name: string, run: () => Promise<unknown>): void {
    this.#once(name, run).catch((error: unknown) => this.#report(error, name));
  }

  /** The next event or the resync after the reconnection tries again. */
  #report(error: unknown, what: string): void {
    if (this.#stop.signal.aborted) return;
    // That the engine is away is told once, by the loop.
    const level = error instanceof EngineError && error.status === 0 ? 'debug' : 'warn';
    this.#options.log[level]({ error: String(error), what }, 'could not be compared with the engine');
  }
}

async function eachOf<T>(items: readonly T[], atOnce: number, run: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await run(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
