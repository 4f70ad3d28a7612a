/** What endpoints learnt by names: the peers that addresses outside are to each of them. */
import { learntKeyLayout, readLearntKey, readLearntPeer, writeLearntKey, writeLearntPeer } from '../generated/maps.ts';
import { KernelError, type LearntEntry, type LearntKey } from '../port.ts';
import type { Table } from './table.ts';

function writeKey(table: Table, { slot, address }: LearntKey): void {
  writeLearntKey(table.keyView, 0, { address, slot });
}

export function setLearnt(table: Table, entries: readonly LearntEntry[]): void {
  for (const entry of entries) {
    writeKey(table, entry);
    writeLearntPeer(table.valueView, 0, { peer: entry.peer, lapsed: entry.lapsed ? 1 : 0 });
    if (table.update() === 'full') throw new KernelError(`learn ${entry.address}`, 'full');
  }
}

export function removeLearnt(table: Table, keys: readonly LearntKey[]): void {
  for (const key of keys) {
    writeKey(table, key);
    table.delete();
  }
}

export function getLearnt(table: Table, key: LearntKey): Omit<LearntEntry, keyof LearntKey> | undefined {
  writeKey(table, key);
  return table.lookup() ? valueOf(table.valueView, 0) : undefined;
}

export function listLearnt(table: Table): readonly LearntEntry[] {
  if (table.info.keySize !== learntKeyLayout.size) throw new KernelError('read learnt addresses', 'EPROTO');
  const found: LearntEntry[] = [];
  table.walk((keys, keyAt, values, valueAt) => {
    const { slot, address } = readLearntKey(keys, keyAt);
    found.push({ slot, address, ...valueOf(values, valueAt) });
  });
  return found;
}

function valueOf(values: DataView, at: number): Omit<LearntEntry, keyof LearntKey> {
  const { peer, lapsed } = readLearntPeer(values, at);
  return { peer, lapsed: lapsed !== 0 };
}
