/**
 * The world outside of a simulation: addresses of nobody, that workloads learn by names and connect to. What passes must be allowed by
 * policy for some of the names that the workload ever asked for: which of them it still knows is the agent's affair, until all is quiet.
 */
import { pick } from '@bulkhead/policy/testing';
import type { SimulatedWorkload } from './host.ts';
import type { Agreed, SimulatedManager } from './manager.ts';
import type { Random } from './network.ts';
import { mayLeave, withFacts } from './permits.ts';

const addresses = ['192.0.2.50', '198.51.100.60', '203.0.113.70', '10.200.0.80'];
const names = ['api.example.com', 'www.example.com', 'example.com', 'example.org'];
const ports = [22, 80, 443, 8080] as const;

export class Outside {
  readonly #random: Random;
  readonly #manager: SimulatedManager;
  /** By workload and address. */
  readonly #asked = new Map<string, Set<string>>();

  constructor(random: Random, manager: SimulatedManager) {
    this.#random = random;
    this.#manager = manager;
  }

  /** A workload asks for a name, as far as there is an agent to answer. */
  ask(workload: SimulatedWorkload): void {
    this.#learn(workload, pick(this.#random, addresses), pick(this.#random, names));
  }

  /** A packet to outside; what is wrong with its fate, or null. */
  leave(from: SimulatedWorkload, sourcePort: number, revisions: readonly [number, number]): string | null {
    const [address, port] = [pick(this.#random, addresses), pick(this.#random, ports)];
    const delivery = from.host.send(from, { address }, { source: sourcePort, destination: port });
    if (delivery.kind !== 'passed') return null;
    const known = [...(this.#asked.get(`${from.id} ${address}`) ?? [])];
    for (let revision = revisions[0]; revision <= revisions[1]; revision++) {
      const agreed = this.#manager.agreed(revision);
      const told = agreed.labels.get(from.id);
      for (const labels of [...(told === undefined ? [] : [told]), withFacts(from, from.labels)])
        for (const some of subsets(known))
          if (mayLeave(agreed.policySet, labels, { address, names: some }, port)) return null;
    }
    return `${from.name} → ${address}:${port} left, known by ${known.join(' ') || 'no name'}, and no revision ${revisions.join(' to ')} allows it`;
  }

  /** When all is quiet: what was just learnt, and what nobody learnt, as policy says it. */
  expectExactly(from: SimulatedWorkload, agreed: Agreed, nextPort: () => number): string | null {
    const [fresh, unknown] = ['203.0.113.200', '203.0.113.201'];
    const name = pick(this.#random, names);
    this.#learn(from, fresh!, name);
    for (const [address, known] of [
      [fresh!, [name]],
      [unknown!, []],
    ] as const) {
      for (const port of ports) {
        const { kind } = from.host.send(from, { address }, { source: nextPort(), destination: port });
        const isAllowed = mayLeave(agreed.policySet, agreed.labels.get(from.id)!, { address, names: known }, port);
        // Whoever is asked about waits for the answer: neither passed nor refused yet.
        if (kind !== 'punted' && (kind === 'passed') !== isAllowed)
          return `in the end ${from.name} → ${address}:${port}, known by ${known.join(' ') || 'no name'}: ${kind}, policy ${isAllowed ? 'allows' : 'denies'} it`;
      }
    }
    return null;
  }

  #learn(workload: SimulatedWorkload, address: string, name: string): void {
    if (!workload.host.learn(workload, address, name)) return;
    const key = `${workload.id} ${address}`;
    const known = this.#asked.get(key);
    if (known === undefined) this.#asked.set(key, new Set([name]));
    else known.add(name);
  }
}

function subsets(of: readonly string[]): readonly (readonly string[])[] {
  return of.reduce<readonly (readonly string[])[]>(
    (all, name) => [...all, ...all.map((some) => [...some, name])],
    [[]],
  );
}
