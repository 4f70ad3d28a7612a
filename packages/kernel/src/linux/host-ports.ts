/** Exceptions of the host's own end, as a table. */
import { hostPortKind, readHostPortKey, writeHostPortKey } from '../generated/maps.ts';
import { KernelError, type HostPort } from '../port.ts';
import { hostPortText } from '../host-port.ts';
import type { Table } from './table.ts';

function kindOf(entry: HostPort): number {
  if (entry.kind === 'published') return hostPortKind.published;
  return entry.direction === 'egress' ? hostPortKind.guardOut : hostPortKind.guardIn;
}

function writeKey(table: Table, entry: HostPort): void {
  const { address, port, protocol } = entry;
  writeHostPortKey(table.keyView, 0, { address, port, protocol, kind: kindOf(entry) });
}

/** Adds before it removes, so that what is in both is there throughout. */
export function setHostPorts(table: Table, entries: readonly HostPort[]): void {
  const before = listHostPorts(table);
  const kept = new Set(entries.map(hostPortText));
  for (const entry of entries) {
    writeKey(table, entry);
    table.valueView.setUint32(0, entry.kind === 'guard' ? entry.rule : 0, true);
    if (table.update() === 'full') throw new KernelError('set host ports', 'full');
  }
  for (const entry of before) {
    if (kept.has(hostPortText(entry))) continue;
    writeKey(table, entry);
    table.delete();
  }
}

export function listHostPorts(table: Table): readonly HostPort[] {
  const found: HostPort[] = [];
  table.walk((keys, keyAt, values, valueAt) => {
    const { address, port, protocol, kind } = readHostPortKey(keys, keyAt);
    if (kind === hostPortKind.published) return void found.push({ kind: 'published', address, port, protocol });
    const direction = kind === hostPortKind.guardOut ? 'egress' : 'ingress';
    found.push({ kind: 'guard', direction, address, port, protocol, rule: values.getUint32(valueAt, true) });
  });
  return found;
}
