/** Which ports workloads answered on, from flow records. Bounded; the one unused for longest is forgotten first. Pure. */
import type { FlowRecord } from '@bulkhead/protocol';
import type { ServedPort } from './compare.ts';

const portsMax = 20_000;
const portsPerWorkloadMax = 64;
const protocols: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };
/** A port that nobody was answered on for so long is no longer served, as far as the wire shows. */
const servedMs = 3_600_000;

export class ServedPorts {
  readonly #byWorkload = new Map<string, Map<string, ServedPort>>();
  #count = 0;

  /** Counts a flow that the workload answered. A reply proves that something listens; a reset is no answer of a service. */
  see(flow: FlowRecord): void {
    const { workload, port } = flow.destination;
    const protocol = protocols[flow.protocol];
    if (workload === null || workload === 'host' || protocol === undefined || flow.verdict !== 'allow') return;
    if (!answered(flow)) return;
    const ports = this.#byWorkload.get(workload) ?? new Map<string, ServedPort>();
    const key = `${protocol}/${port}`;
    if (!ports.has(key)) {
      if (ports.size >= portsPerWorkloadMax || this.#count >= portsMax) return;
      this.#count++;
    }
    ports.set(key, { workload, port: key, client: flow.source.workload ?? flow.source.address, lastMs: flow.lastMs });
    this.#byWorkload.set(workload, ports);
  }

  current(nowMs: number): readonly ServedPort[] {
    const current: ServedPort[] = [];
    for (const [workload, ports] of this.#byWorkload) {
      for (const [key, served] of ports) {
        if (nowMs - served.lastMs <= servedMs) current.push(served);
        else {
          ports.delete(key);
          this.#count--;
        }
      }
      if (ports.size === 0) this.#byWorkload.delete(workload);
    }
    return current;
  }

  forget(workload: string): void {
    this.#count -= this.#byWorkload.get(workload)?.size ?? 0;
    this.#byWorkload.delete(workload);
  }
}

const tcp = 6;
/** Two packets back: a refused TCP connection sees one, the reset. */
function answered(flow: FlowRecord): boolean {
  return flow.packets[1] >= (flow.protocol === tcp ? 2 : 1);
}
