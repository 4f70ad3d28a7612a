/** Three workloads, of which the second asks about whoever comes, and a punt device that the test answers for the agent. */
import assert from 'node:assert/strict';
import type { Connection, Punt, PuntDevice } from '@bulkhead/kernel';
import { allowAll, always, drained, Machine, until, type Policy, type Workload } from './machine.ts';

export interface Held {
  readonly punt: Punt;
  readonly frame: Uint8Array;
}

export const askIn: Policy = {
  egress: new Map([[0, always('allow', 40)]]),
  ingress: new Map([[0, always('ask', 41)]]),
};

export class Asking implements AsyncDisposable {
  readonly machine: Machine;
  readonly a: Workload;
  readonly b: Workload;
  readonly c: Workload;
  readonly device: PuntDevice;
  /** Held packets that the test has not taken yet. */
  held: Held[] = [];

  private constructor(machine: Machine, workloads: readonly Workload[], device: PuntDevice) {
    const [a, b, c] = workloads;
    assert.ok(a !== undefined && b !== undefined && c !== undefined);
    this.machine = machine;
    this.a = a;
    this.b = b;
    this.c = c;
    this.device = device;
    device.onPunt((punt, frame) => this.held.push({ punt, frame }));
  }

  static async open(): Promise<Asking> {
    const machine = Machine.open();
    const workloads: Workload[] = [];
    for (const name of ['a', 'b', 'c']) workloads.push(await machine.addWorkload(name));
    return new Asking(machine, workloads, await machine.kernel.openPuntDevice());
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
  }

  /** As at the beginning: everybody allows everything, the second asks. */
  reset(): void {
    this.machine.configure({ puntIfindex: this.device.ifindex });
    for (const workload of [this.a, this.b, this.c]) {
      this.machine.govern(workload, allowAll);
      this.machine.setEndpoint(workload, { state: 'governed', generation: 1, identity: workload.identity });
      drained(workload.link);
    }
    this.machine.govern(this.b, askIn);
    this.held = [];
    this.machine.events();
  }

  async question(): Promise<Held> {
    await until(() => this.held.length > 0, 'a held packet');
    return this.held.shift()!;
  }
  connectionOf(sourcePort: number): Connection | undefined {
    let found: Connection | undefined;
    this.machine.kernel.maps.forEachConnection((connection) => {
      if (connection.sourcePort === sourcePort) found = { ...connection };
    });
    return found;
  }
}
