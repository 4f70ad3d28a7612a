/** What tells one exception of the host's own end from another: everything but the rule that it is told under. */
import type { HostPort } from './port.ts';

export function hostPortText(entry: HostPort): string {
  const kind = entry.kind === 'guard' ? entry.direction : entry.kind;
  return `${kind} ${entry.protocol} ${entry.address} ${entry.port}`;
}

/** The address that stands for every one of the same family. */
export function everyAddressLike(address: string): string {
  return address.includes(':') ? '::' : '0.0.0.0';
}
