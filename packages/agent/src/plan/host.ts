/** What the planner does for the host's own end, beside what it does for every endpoint. */
import type { HostPort } from '@bulkhead/kernel';
import type { ActualKernel, DesiredKernel, Operation } from './model.ts';

/** Before anything that the exceptions are about is judged: the guard is there first. */
export function hostPortChanges(actual: ActualKernel, desired: DesiredKernel): readonly Operation[] {
  return sameHostPorts(actual.hostPorts, desired.hostPorts)
    ? []
    : [{ kind: 'set-host-ports', entries: desired.hostPorts }];
}

export function sameHostPorts(one: readonly HostPort[], other: readonly HostPort[]): boolean {
  if (one === other) return true;
  const texts = new Set(one.map(textOf));
  return one.length === other.length && other.every((entry) => texts.has(textOf(entry)));
}

function textOf(entry: HostPort): string {
  const { kind, protocol, address, port } = entry;
  return `${kind === 'guard' ? `${entry.direction} ${entry.rule}` : kind} ${protocol} ${address} ${port}`;
}

/** When the host becomes a subject, or is one no more, what its workloads say to it is judged again by their next packets. */
export function hostAddressesToJudge(actual: ActualKernel, desired: DesiredKernel): readonly string[] {
  const isHost = ({ kind }: { readonly kind: string }): boolean => kind === 'host';
  const was = actual.endpoints.values().some(isHost);
  const is = desired.endpoints.values().some(({ statics }) => isHost(statics));
  if (was === is) return [];
  return [...desired.addresses].flatMap(([address, { kind }]) => (kind === 'host' ? [address] : []));
}
