/** Endpoints with what the kernel counted for them: `bulkhead top` on the host. */
import type { Kernel } from '@bulkhead/kernel';
import type { KernelMirror } from '../apply/mirror.ts';
import type { Registry } from '../registry/registry.ts';

export function endpointViews(kernel: Kernel, registry: Registry, mirror: KernelMirror): readonly unknown[] {
  const connections = new Map<number, number>();
  kernel.maps.forEachConnection(({ sourceSlot, destinationSlot }) => {
    for (const slot of new Set([sourceSlot, destinationSlot])) connections.set(slot, (connections.get(slot) ?? 0) + 1);
  });
  return registry.endpoints().map((endpoint) => {
    const entry = mirror.endpoints.get(endpoint.slot);
    const counted = [...kernel.maps.endpointCounters(endpoint.slot)].filter(([, count]) => count > 0n);
    return {
      ...endpoint,
      name: endpoint.workload === null ? null : (registry.workload(endpoint.workload)?.name ?? null),
      state: entry?.state ?? 'absent',
      identity: entry?.identity ?? 0,
      ruleset: entry?.ruleset ?? 0,
      connections: connections.get(endpoint.slot) ?? 0,
      counters: Object.fromEntries(counted.map(([name, count]) => [name, Number(count)])),
    };
  });
}
