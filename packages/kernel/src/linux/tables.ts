/** The pinned maps of one layout, opened as tables. */
import { readFileSync } from 'node:fs';
import { mapNames, type MapName } from '../generated/maps.ts';
import { KernelError } from '../port.ts';
import { close } from './libc.ts';
import { Table } from './table.ts';

export type Tables = Readonly<Record<MapName, Table>>;

/** Processors that the kernel may ever bring up: per-processor maps have a value for each. */
export function possibleCpus(): number {
  const text = readFileSync('/sys/devices/system/cpu/possible', 'utf8').trim();
  const last = /(\d+)$/.exec(text)?.[1];
  if (last === undefined) throw new KernelError('count processors', 'EINVAL', { detail: text });
  return Number(last) + 1;
}

/** Takes over the descriptors. Throws KernelError ENOENT where one of the maps is missing. */
export function openTables(descriptors: ReadonlyMap<string, number>): Tables {
  const cpus = possibleCpus();
  const entries = mapNames.map((name) => {
    const fd = descriptors.get(name);
    if (fd === undefined) throw new KernelError(`open map ${name}`, 'ENOENT');
    return [name, new Table(name, fd, cpus)] as const;
  });
  return Object.fromEntries(entries) as Record<MapName, Table>;
}

export function closeTables(tables: Tables): void {
  for (const name of mapNames) close(tables[name].fd);
}
