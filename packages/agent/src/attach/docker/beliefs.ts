/** The engine's inventory in the terms of the comparison with the wire. Pure. */
import type { Belief } from '../../divergence/watch.ts';
import { isolationClass, type ContainerFacts } from './container-facts.ts';
import type { WorkloadBook } from './workload-book.ts';

export function dockerBeliefs(book: WorkloadBook, driver: string): readonly Belief[] {
  const containers = book.containers();
  const declared = new Map<string, Set<string>>();
  for (const facts of containers) {
    // Who shares a network namespace listens on its owner's addresses.
    const owner = book.owner(facts.container);
    const ports = declared.get(owner) ?? new Set<string>();
    for (const { protocol, port } of facts.declared) ports.add(`${protocol}/${port}`);
    declared.set(owner, ports);
  }
  return containers
    .filter((facts) => facts.network.kind !== 'shared')
    .map((facts) => ({
      workload: beliefOf(facts, book, driver, declared.get(facts.container) ?? new Set()),
      pid: facts.pid,
    }));
}

function beliefOf(
  facts: ContainerFacts,
  book: WorkloadBook,
  driver: string,
  declaredPorts: ReadonlySet<string>,
): Belief['workload'] {
  const interfaces = facts.network.kind === 'own' ? facts.network.interfaces : [];
  return {
    workload: book.workloadId(facts.container),
    name: facts.name,
    running: facts.running,
    ungovernedBecause: book.ungovernedBecause(facts),
    declaredPorts,
    endpoints: interfaces
      .filter((found) => found.driver === driver && found.endpoint !== '')
      .map((found) => ({ endpoint: found.endpoint, addresses: found.addresses })),
    isolationClass: isolationClass(facts.runtime),
    runtime: facts.runtime,
  };
}
