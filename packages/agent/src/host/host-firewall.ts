/** Keeps the host's input chain in line with whether the host is a subject, what its guard is, and which interfaces it has. */
import type { InterfaceInfo, Routes } from '@bulkhead/kernel';
import type { Logger } from 'pino';
import { hostTableName, inputTable, type InputTable } from './input-table.ts';
import type { GuardPorts } from './guard.ts';

/**
 * Kinds that lead out of the machine though they are virtual. One that is neither among them nor virtual and is no uplink (a card
 * without an address) leads out as well: the guard alone comes in by it.
 */
const outwardKinds: ReadonlySet<string> = new Set(['device', 'vlan', 'bond', 'team', 'macvlan', 'ipvlan', 'macvtap']);

/** Of endpoints: what comes from there is judged there. */
const workloadPrefix = 'bhw';

export interface HostWish {
  /** null: no chain, since the host is no subject, or nothing is enforced. */
  readonly guard: GuardPorts | null;
  readonly interfaces: readonly InterfaceInfo[];
  readonly uplinks: readonly number[];
  /** Interfaces of workloads that have other names. */
  readonly workloads: ReadonlySet<number>;
}

export class HostFirewall {
  readonly #routes: Routes;
  readonly #log: Logger;
  /** What the kernel has, as far as known: undefined after a start or a failure, null where there is no table. */
  #applied: string | null | undefined = undefined;
  #wanted: string | null = null;
  #running: Promise<void> | null = null;
  #toVerify = false;

  constructor(routes: Routes, log: Logger) {
    this.#routes = routes;
    this.#log = log;
  }

  /** Resolves when the kernel has what was wanted last. A failure is told in the log and tried again with the next call. */
  set(wish: HostWish): Promise<void> {
    this.#wanted = wish.guard === null ? null : inputTable(tableOf(wish.guard, wish));
    this.#running ??= this.#apply().finally(() => (this.#running = null));
    return this.#running;
  }

  /** The next call looks whether somebody else took the table away. */
  verify(): void {
    this.#toVerify = true;
  }

  /** A host that is no subject pays nothing for it. */
  async #compare(): Promise<void> {
    this.#toVerify = false;
    if (this.#applied == null || (await this.#routes.ruleset(hostTableName)) !== null) return;
    this.#log.error('the host’s input chain was removed by somebody else: made again');
    this.#applied = undefined;
  }

  async #apply(): Promise<void> {
    while (this.#toVerify || this.#applied !== this.#wanted) {
      const text = this.#wanted;
      try {
        if (this.#toVerify) await this.#compare();
        if (this.#applied === text) continue;
        if (text !== null) await this.#routes.setRuleset(hostTableName, text);
        else if (this.#applied !== undefined || (await this.#routes.ruleset(hostTableName)) !== null)
          await this.#routes.removeRuleset(hostTableName);
        this.#applied = text;
      } catch (error) {
        this.#applied = undefined;
        this.#log.error({ error }, 'the host’s input chain could not be set: what its programs judge is in force');
        return;
      }
    }
  }
}

function tableOf(guard: GuardPorts, { interfaces, uplinks, workloads }: HostWish): InputTable {
  const isOfWorkload = ({ name, ifindex }: InterfaceInfo): boolean =>
    name.startsWith(workloadPrefix) || workloads.has(ifindex);
  const isUplink = ({ ifindex }: InterfaceInfo): boolean => uplinks.includes(ifindex);
  const inside = interfaces.filter(
    (each) => each.name !== 'lo' && !outwardKinds.has(each.kind) && !isUplink(each) && !isOfWorkload(each),
  );
  return {
    guard,
    uplinks: interfaces
      .filter(isUplink)
      .map(({ name }) => name)
      .sort(),
    inside: inside.map(({ name }) => name).sort(),
  };
}
