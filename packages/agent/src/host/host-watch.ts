/** Keeps the host's end up to date: its guard, and its input chain, whenever interfaces, addresses or policy change. */
import type { InterfaceInfo, Kernel } from '@bulkhead/kernel';
import type { Logger } from 'pino';
import type { Core } from '../core.ts';
import { guardPorts, type GuardSources } from './guard.ts';
import { HostFirewall } from './host-firewall.ts';

/** What the agent's process knows of the host, read anew each time. */
export type GuardReader = () => Omit<GuardSources, 'hostAddresses'>;

export interface HostWatchOptions {
  readonly core: Core;
  readonly kernel: Kernel;
  readonly log: Logger;
  readonly guard: GuardReader;
}

interface Seen {
  readonly interfaces: readonly InterfaceInfo[];
  readonly uplinks: readonly number[];
  readonly workloads: ReadonlySet<number>;
}

export class HostWatch {
  readonly #options: HostWatchOptions;
  readonly #firewall: HostFirewall;
  #addresses: ReadonlySet<string> = new Set();
  #seen: Seen | null = null;
  #wasSubject = false;

  constructor(options: HostWatchOptions) {
    this.#options = options;
    this.#firewall = new HostFirewall(options.kernel.routes, options.log);
  }

  /** Which ports the guard keeps open may have changed. */
  readGuard(): void {
    const { core, log } = this.#options;
    const ports = guardPorts({ ...this.#options.guard(), hostAddresses: this.#addresses });
    if (!core.setGuard(ports)) return;
    log.info({ ...ports }, 'the lock-out guard keeps these ports of the host open');
    void this.#setFirewall();
  }

  /** Resolves when the input chain is as it should be. */
  interfacesRead(seen: Seen, addresses: ReadonlySet<string>): Promise<void> {
    const isFirst = this.#seen === null;
    this.#seen = seen;
    this.#addresses = addresses;
    if (isFirst) this.readGuard();
    this.#firewall.verify();
    return this.#setFirewall();
  }

  /** After a pass: the host may have become a subject, or be one no more. */
  applied(): void {
    if (this.#isBound !== this.#wasSubject) void this.#setFirewall();
  }

  /** The kernel has the host's end, and enforces it. */
  get #isBound(): boolean {
    const { kernel } = this.#options;
    return kernel.maps.endpoint(kernel.maps.limits.hostSlot)?.state === 'governed';
  }

  #setFirewall(): Promise<void> {
    if (this.#seen === null) return Promise.resolve();
    this.#wasSubject = this.#isBound;
    const { core } = this.#options;
    const guard = core.hostEnd.isGuarded(core.store.policySet) ? core.hostEnd.guard : { ingress: [], egress: [] };
    return this.#firewall.set({ guard: this.#wasSubject ? guard : null, ...this.#seen });
  }
}
