/** What is wrong on this host as the agent sees it: `bulkhead doctor`. Looks at the kernel, not at memory. */
import { KernelError, type Kernel } from '@bulkhead/kernel';
import { journalBytesMax } from '../journal/journal.ts';
import type { EndpointRegistry } from '../model.ts';
import type { AgentStatus } from './status.ts';

export interface Finding {
  readonly severity: 'error' | 'warning';
  readonly what: string;
  readonly remedy: string;
}

const neededPrograms = ['from_workload', 'to_workload', 'from_punt'];

export function findings(kernel: Kernel, registry: EndpointRegistry, status: AgentStatus): readonly Finding[] {
  const found: Finding[] = [];
  const add = (severity: Finding['severity'], what: string, remedy: string): void =>
    void found.push({ severity, what, remedy });
  for (const program of neededPrograms) {
    if (!status.programs.includes(program))
      add('error', `the program ${program} is not loaded`, 'Restart the agent; its log says why.');
  }
  try {
    const links = kernel.links.attached();
    const guarded = new Set(links.filter(({ hook }) => hook === 'workload').map(({ ifindex }) => ifindex));
    for (const { endpoint, interfaceName, ifindex } of registry.endpoints()) {
      if (!guarded.has(ifindex))
        add('error', `${interfaceName} (endpoint ${endpoint}) has no programs`, 'Run: bulkhead resync.');
    }
    const isHostSubject = kernel.maps.endpoint(kernel.maps.limits.hostSlot) !== undefined;
    if (isHostSubject && !links.some(({ hook }) => hook === 'uplink'))
      add(
        'error',
        'the host is in a segment, and no interface of it is an uplink: what it sends and receives is not judged',
        'Name the interfaces that lead out of the machine: bulkhead-agent --uplink NAME.',
      );
    if (!links.some(({ hook }) => hook === 'punt')) add('error', 'held packets cannot come back', 'Restart the agent.');
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    add('error', `attachments cannot be read: ${error.message}`, 'Is the bpffs mounted, and the agent root?');
  }
  for (const failed of status.receipt?.failed ?? [])
    add('error', `not in force: ${failed}`, 'What is named is denied, and tried again.');
  if (!status.enforcing) add('error', 'enforcement is off: everything passes', 'Run: bulkhead on.');
  if (!status.link.isReady)
    add('warning', `no manager: ${status.link.lastError}`, 'What is in force stays; questions end as their rules say.');
  if (status.journal.bytes > journalBytesMax / 2)
    add('warning', 'the journal is more than half full', 'Flows are lost when it is full: bring the manager back.');
  if (status.learnt.displaced > 0)
    add(
      'warning',
      `${status.learnt.displaced} addresses that workloads had learnt by names made room for others of theirs`,
      'A workload asks for very many names: connections to the oldest are denied until it asks again.',
    );
  if (status.flowsLost > 0)
    add(
      'warning',
      `${status.flowsLost} flows were not told since the start`,
      'The counters events_lost and events_suppressed say where.',
    );
  if (status.puntsLost > 0)
    add('warning', `${status.puntsLost} held packets were lost`, 'The machine is too busy for its questions.');
  return found;
}
