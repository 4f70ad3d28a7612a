/**
 * Containers as workloads: what each claims (decided once, while its image can still be asked), which generation it is in, and whether
 * it is governed. Writes the registry; asks nobody.
 */
import type { Records } from '../../state.ts';
import type { EndpointRegistry, LocalWorkload } from '../../model.ts';
import type { Labels } from '@bulkhead/policy';
import type { Logger } from 'pino';
import { claimedLabels } from './claimed-labels.ts';
import { isolationClass, ungovernedBecause, type ContainerFacts } from './container-facts.ts';
import type { ContainerRecord } from './docker-records.ts';

export interface WorkloadBookOptions {
  readonly host: string;
  readonly driver: string;
  readonly registry: EndpointRegistry;
  readonly containers: Records<ContainerRecord>;
  readonly log: Logger;
  /** The mode of an endpoint of another driver that was adopted, by the engine's endpoint id. */
  readonly adoptedMode: (endpoint: string) => 'observe' | 'enforce' | undefined;
}

export class WorkloadBook {
  readonly #options: WorkloadBookOptions;
  readonly #facts = new Map<string, ContainerFacts>();

  constructor(options: WorkloadBookOptions) {
    this.#options = options;
  }

  /** Every container of the engine as it was seen last. */
  containers(): readonly ContainerFacts[] {
    return [...this.#facts.values()];
  }
  facts(container: string): ContainerFacts | undefined {
    return this.#facts.get(container);
  }
  factsOf(workload: string): ContainerFacts | undefined {
    const prefix = this.workloadId('');
    return workload.startsWith(prefix) ? this.#facts.get(workload.slice(prefix.length)) : undefined;
  }
  ungovernedBecause(facts: ContainerFacts): string | null {
    return this.#governance(facts).because;
  }
  workloadId(container: string): string {
    return `${this.#options.host}/docker/${container}`;
  }
  /** The container that owns the network namespace: `container:X` may itself share with another. */
  owner(container: string): string {
    const seen = new Set<string>();
    let at = container;
    for (;;) {
      const facts = this.#facts.get(at);
      if (facts?.network.kind !== 'shared' || seen.has(at)) return at;
      seen.add(at);
      const named = facts.network.with;
      at = this.#facts.has(named)
        ? named
        : (this.containers().find((other) => other.name === named)?.container ?? named);
    }
  }

  /**
   * `imageLabels` is null where the image is gone. A container that shares another's namespace is part of that one's workload and has
   * none of its own.
   */
  set(facts: ContainerFacts, imageLabels: Labels | null): void {
    this.#facts.set(facts.container, facts);
    this.#remember(facts, imageLabels);
    this.governanceChanged(facts.container);
  }

  /** Writes the workload again where anything about it is different now. */
  governanceChanged(container: string): void {
    const facts = this.#facts.get(container);
    if (facts === undefined || facts.network.kind === 'shared') return;
    const workload = this.#workload(facts);
    const former = this.#options.registry.workload(workload.workload);
    if (former === undefined || !sameWorkload(former, workload)) this.#options.registry.setWorkload(workload);
  }

  /** The endpoint is the container's, in the sandbox that the engine named at Join. */
  bind(endpoint: string, sandbox: string | null, container: string): void {
    const facts = this.#facts.get(container);
    // It may have left between the engine's answer and now.
    if (facts === undefined || this.#options.registry.endpoint(endpoint) === undefined) return;
    if (sandbox !== null) this.#countIncarnation(container, sandbox);
    this.#options.registry.bindWorkload(endpoint, this.#workload(facts));
  }

  remove(container: string): void {
    this.#facts.delete(container);
    this.#options.containers.delete(container);
    this.#options.registry.removeWorkload(this.workloadId(container));
  }

  /** Forgets containers that the engine has no more. */
  keepOnly(containers: ReadonlySet<string>): void {
    const known = new Set([
      ...this.#facts.keys(),
      ...this.#options.containers.entries().map(([container]) => container),
    ]);
    const prefix = this.workloadId('');
    for (const { workload, engine } of this.#options.registry.workloads()) {
      if (engine === 'docker' && workload.startsWith(prefix)) known.add(workload.slice(prefix.length));
    }
    for (const container of known) if (!containers.has(container)) this.remove(container);
  }

  #remember(facts: ContainerFacts, imageLabels: Labels | null): void {
    const former = this.#options.containers.get(facts.container);
    if (former === undefined) {
      const claim = claimedLabels(facts.labels, imageLabels);
      if (claim.refused.length > 0)
        this.#options.log.warn({ container: facts.name, refused: claim.refused }, 'labels that do not count');
      this.#options.containers.set(facts.container, {
        container: facts.container,
        labels: claim.labels,
        generation: 0,
        incarnation: null,
      });
    }
    // Containers without an endpoint of ours are counted by the time of their start.
    const isOurs =
      facts.network.kind === 'own' && facts.network.interfaces.some((found) => found.driver === this.#options.driver);
    if (!isOurs && facts.startedMs !== null) this.#countIncarnation(facts.container, `started-${facts.startedMs}`);
  }

  #countIncarnation(container: string, incarnation: string): void {
    const record = this.#options.containers.get(container);
    if (record === undefined || record.incarnation === incarnation) return;
    this.#options.containers.set(container, { ...record, incarnation, generation: record.generation + 1 });
  }

  #workload(facts: ContainerFacts): LocalWorkload {
    const record = this.#options.containers.get(facts.container);
    const { because, governance } = this.#governance(facts);
    return {
      workload: this.workloadId(facts.container),
      name: facts.name,
      engine: 'docker',
      labels: record?.labels ?? {},
      image: facts.image,
      imageDigest: facts.imageId,
      isolationClass: isolationClass(facts.runtime),
      // A runtime's name proves nothing: the boundary is what was measured, and here nobody measured one.
      boundary: 'none',
      generation: record?.generation ?? 0,
      governance,
      ungovernedBecause: because,
      startedMs: facts.startedMs,
    };
  }

  #governance(facts: ContainerFacts): {
    readonly governance: LocalWorkload['governance'];
    readonly because: string | null;
  } {
    const interfaces = facts.network.kind === 'own' ? facts.network.interfaces : [];
    const modes = interfaces.map((found) => [found.endpoint, this.#options.adoptedMode(found.endpoint)] as const);
    const adopted = new Set(modes.filter(([, mode]) => mode !== undefined).map(([endpoint]) => endpoint));
    const because = ungovernedBecause(facts, this.#options.driver, adopted);
    if (because !== null) return { governance: 'ungoverned', because };
    return { governance: modes.some(([, mode]) => mode === 'observe') ? 'observed' : 'governed', because: null };
  }
}

function sameWorkload(one: LocalWorkload, other: LocalWorkload): boolean {
  const keys = Object.keys(other) as (keyof LocalWorkload)[];
  return keys.every((key) => JSON.stringify(one[key]) === JSON.stringify(other[key]));
}
