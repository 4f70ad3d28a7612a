/** Numbers for Prometheus, read when asked for. No label has a value that a workload or a stranger chooses. */
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { ApiServices } from './services.ts';

/** A number with its name (without the prefix) and help. */
export type Measure = readonly [name: string, help: string, read: () => number];

/** `more`: what the services behind interfaces count. */
export function createMetrics(
  services: ApiServices,
  more: readonly Measure[],
): () => Promise<{ contentType: string; text: string }> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'bulkhead_manager_' });
  const { committer, presence, divergences, flows, audit } = services;
  const hosts = () =>
    [...committer.state.hosts.hosts.values()]
      .filter((entry) => entry.revoked === null)
      .map((entry) => presence.of(entry.host));
  const gauges: readonly Measure[] = [
    ...more,
    ['revision', 'Sequence of the newest batch of the ledger.', () => committer.state.revision],
    ['desired_revision', 'Newest revision that agents are sent.', () => committer.state.desiredRevision],
    ['documents', 'Documents in force.', () => committer.state.documents.entries.size],
    ['workloads', 'Workloads in the inventory.', () => committer.state.inventory.workloads.size],
    ['identities', 'Identities in use or in their grace.', () => committer.state.inventory.identities.size],
    ['hosts_enrolled', 'Hosts that are enrolled and not revoked.', () => hosts().length],
    ['hosts_connected', 'Hosts whose agent is connected.', () => services.linkConnections()],
    [
      'hosts_current',
      'Hosts that confirmed the newest revision.',
      () => hosts().filter((host) => (host.receipt?.revision ?? -1) >= committer.state.desiredRevision).length,
    ],
    ['enforcement', '1 while enforcement is on.', () => (committer.state.enforcement.on ? 1 : 0)],
    ['divergences_open', 'Differences between engines and wire that are not resolved.', () => divergences.openCount()],
    ['flows_stored', 'Flow records stored since the store was made.', () => flows.counts().stored],
    ['flows_lost', 'Flow records that agents had to drop, as they reported.', () => flows.counts().lost],
    [
      'events_lost',
      'Kernel events lost, summed over the connected agents’ last word.',
      () => hosts().reduce((sum, host) => sum + (host.status?.eventsLost ?? 0), 0),
    ],
    ['audit_sequence', 'Lines of the audit log.', () => audit.head.sequence],
    [
      'certificate_ends_seconds',
      'When the server certificate ends, seconds since the epoch.',
      () => services.certificateEndsMs() / 1000,
    ],
  ];
  for (const [name, help, read] of gauges) {
    registry.registerMetric(
      new Gauge({
        name: `bulkhead_manager_${name}`,
        help,
        registers: [],
        collect() {
          this.set(read());
        },
      }),
    );
  }
  return async () => ({ contentType: registry.contentType, text: await registry.metrics() });
}
