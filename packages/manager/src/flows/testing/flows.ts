/** Flows for tests and measurements, the same for the same numbers. */
import type { FlowRecord } from '@bulkhead/protocol';
import type { InventoryView, WorkloadView } from '../../services.ts';

export function workloadNumber(number: number): WorkloadView {
  return {
    workload: `h1/docker/${number}`,
    name: `web-${number}`,
    host: 'h1',
    identity: 256 + (number % 50),
    generation: 1,
    labels: { app: `app-${number % 50}`, env: 'prod' },
    segments: [`segment-${number % 10}`],
    isolationClass: 'shared',
    boundary: 'none',
    image: null,
    imageDigest: null,
  };
}

export function inventoryOf(count: number): InventoryView {
  const workloads = new Map(
    Array.from({ length: count }, (_, number) => workloadNumber(number)).map((view) => [view.workload, view]),
  );
  return {
    workload: (id) => workloads.get(id) ?? null,
    host: (name) => ({ name, labels: { 'bulkhead.dev/host': name }, segments: [] }),
  };
}

export function flowNumber(number: number, more: Partial<FlowRecord> = {}, workloads = 50): FlowRecord {
  const [from, to] = [number % workloads, (number * 7 + 1) % workloads];
  const end = (workload: number, port: number): FlowRecord['source'] => ({
    workload: `h1/docker/${workload}`,
    identity: 256 + (workload % 50),
    address: `10.0.${workload >> 8}.${workload & 255}`,
    port,
  });
  const denied = number % 5 === 0;
  return {
    id: `1700000000-${number}`,
    source: end(from, 32_768 + (number % 28_000)),
    destination:
      number % 11 === 0
        ? { workload: null, identity: 2, address: `192.0.2.${number % 250}`, port: 443 }
        : end(to, 8080),
    protocol: number % 13 === 0 ? 17 : 6,
    verdict: denied ? 'deny' : 'allow',
    egressReason: denied ? 'posture:segment-1' : 'application/web/out',
    ingressReason: 'application/web/in',
    dropReason: number % 100 === 0 ? 'spoofed' : null,
    question: number % 50 === 0 ? `h1:boot:${number}` : null,
    staged: number % 17 === 0 ? { verdict: 'deny', egressReason: 'application/next/rule', ingressReason: '' } : null,
    revision: 12,
    firstMs: 1_700_000_000_000 + number * 10,
    lastMs: 1_700_000_000_000 + number * 10 + 500,
    packets: [number % 100, number % 90],
    bytes: [number % 10_000, (number * 3) % 50_000],
    state: 'closed',
    ...more,
  };
}
