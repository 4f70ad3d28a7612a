/** Prometheus metrics, gathered when they are asked for. */
import type { Kernel } from '@bulkhead/kernel';
import { Counter, Gauge, Registry } from 'prom-client';
import type { AgentStatus } from './status.ts';

export function createMetrics(kernel: Kernel, status: () => AgentStatus): () => Promise<string> {
  const registry = new Registry();
  const registers = [registry];
  const packets = new Counter({
    name: 'bulkhead_packets_total',
    help: 'What the kernel programs counted, by reason.',
    labelNames: ['reason'],
    registers,
  });
  const gauges = (Object.keys(gaugeHelp) as (keyof typeof gaugeHelp)[]).map((name) => {
    const gauge = new Gauge({ name: `bulkhead_agent_${name}`, help: gaugeHelp[name].help, registers });
    return { gauge, value: gaugeHelp[name].value };
  });
  const questions = new Gauge({
    name: 'bulkhead_questions',
    help: 'Questions and held packets, by how they stand or ended.',
    labelNames: ['state'],
    registers,
  });
  return async () => {
    const now = status();
    packets.reset();
    for (const [reason, count] of kernel.maps.counters()) packets.inc({ reason }, Number(count));
    for (const { gauge, value } of gauges) gauge.set(value(now));
    for (const [state, count] of Object.entries(now.questions)) questions.set({ state }, count);
    return registry.metrics();
  };
}

const gaugeHelp = {
  revision: { help: 'Revision of the desired state.', value: (status: AgentStatus) => status.revision },
  enforced_revision: {
    help: 'Revision of the last receipt.',
    value: (status: AgentStatus) => status.receipt?.revision ?? 0,
  },
  enforced_ms: {
    help: 'Time of the last revision from arrival to read-back.',
    value: (status: AgentStatus) => status.receipt?.enforcedMs ?? 0,
  },
  failed_items: {
    help: 'Items that could not be applied and are denied.',
    value: (status: AgentStatus) => status.receipt?.failed.length ?? 0,
  },
  connected: { help: '1 when the manager is reached.', value: (status: AgentStatus) => Number(status.link.isReady) },
  enforcing: { help: '0 when the emergency switch is off.', value: (status: AgentStatus) => Number(status.enforcing) },
  endpoints: { help: 'Endpoints attached.', value: (status: AgentStatus) => status.endpoints },
  workloads: { help: 'Workloads known, governed or not.', value: (status: AgentStatus) => status.workloads },
  rows: { help: 'Rows in the kernel.', value: (status: AgentStatus) => status.rows },
  learnt_addresses: {
    help: 'Addresses that workloads learnt by names.',
    value: (status: AgentStatus) => status.learnt.addresses,
  },
  learnt_displaced: {
    help: 'Learnt addresses that made room for others of their endpoint, since the start.',
    value: (status: AgentStatus) => status.learnt.displaced,
  },
  journal_bytes: { help: 'Bytes that wait for the manager.', value: (status: AgentStatus) => status.journal.bytes },
  journal_batches: {
    help: 'Batches that wait for the manager.',
    value: (status: AgentStatus) => status.journal.batches,
  },
  flows_lost: { help: 'Flows that were not told, since the start.', value: (status: AgentStatus) => status.flowsLost },
  resident_bytes: { help: 'Resident memory of the agent.', value: (status: AgentStatus) => status.residentBytes },
} as const;
