/** Owners of addresses, and the networks that documents name. */
import { cidrText, parseCidr, readAddress, writeAddress } from '../address.ts';
import {
  cidrKeyLayout,
  ownerKind,
  readAddressOwner,
  readCidrKey,
  writeAddressOwner,
  writeCidrKey,
} from '../generated/maps.ts';
import { KernelError, type AddressEntry } from '../port.ts';
import type { Table } from './table.ts';

const noAddress = '::';

export function setAddress(table: Table, address: string, entry: AddressEntry): void {
  writeAddress(address, table.keyView, 0);
  writeAddressOwner(table.valueView, 0, {
    kind: ownerKind[entry.kind],
    slot: entry.kind === 'endpoint' ? entry.slot : 0,
    identity: entry.kind === 'remote' ? entry.identity : 0,
    host: entry.kind === 'remote' ? entry.host : noAddress,
  });
  if (table.update() === 'full') throw new KernelError(`set address ${address}`, 'full');
}

export function removeAddress(table: Table, address: string): void {
  writeAddress(address, table.keyView, 0);
  table.delete();
}

function entryOf(values: DataView, at: number): AddressEntry {
  const owner = readAddressOwner(values, at);
  if (owner.kind === ownerKind.endpoint) return { kind: 'endpoint', slot: owner.slot };
  if (owner.kind === ownerKind.remote) return { kind: 'remote', identity: owner.identity, host: owner.host };
  return { kind: 'host' };
}

export function getAddress(table: Table, address: string): AddressEntry | undefined {
  writeAddress(address, table.keyView, 0);
  return table.lookup() ? entryOf(table.valueView, 0) : undefined;
}

export function listAddresses(table: Table): ReadonlyMap<string, AddressEntry> {
  const found = new Map<string, AddressEntry>();
  table.walk((keys, keyAt, values, valueAt) => found.set(readAddress(keys, keyAt), entryOf(values, valueAt)));
  return found;
}

export interface CidrEntry {
  readonly cidr: string;
  readonly peer: number;
}

/**
 * In the trie IPv4 lies within IPv6 (::ffff:0:0/96), so an IPv6 network like ::/0 would match IPv4 addresses that no IPv4 network names.
 * This entry, there whenever any other is, gives them back what they are: the peer that the programs take where nothing matches.
 */
const otherIpv4: CidrEntry = { cidr: '0.0.0.0/0', peer: 2 };

/** The programs remember what they found in the trie, until the generation changes: also when the change failed half-way. */
export function changeCidrs(generation: Table, change: () => void): void {
  try {
    change();
  } finally {
    generation.keyView.setUint32(0, 0, true);
    generation.lookup();
    generation.valueView.setUint32(0, (generation.valueView.getUint32(0, true) + 1) >>> 0, true);
    generation.update();
  }
}

/** Stores all or none: what did not fit is taken back, and what was replaced is restored. */
export function setCidrs(table: Table, entries: readonly CidrEntry[]): void {
  const before = new Map(walkCidrs(table).map((entry) => [entry.cidr, entry.peer]));
  const isGuarded = before.has(otherIpv4.cidr) || entries.some(({ cidr }) => cidr === otherIpv4.cidr);
  storeCidrs(table, isGuarded ? entries : [otherIpv4, ...entries], before);
}

function storeCidrs(table: Table, entries: readonly CidrEntry[], before: ReadonlyMap<string, number>): void {
  const keys = entries.map((entry) => parseCidr(entry.cidr));
  const stored = table.updateMany(entries.length, (index, keyView, keyAt, valueView, valueAt) => {
    const key = keys[index]!;
    writeCidrKey(keyView, keyAt, { prefix: key.prefixBits, address: key.address });
    valueView.setUint32(valueAt, entries[index]!.peer, true);
  });
  if (stored === entries.length) return;
  const taken = entries.slice(0, stored);
  deleteCidrs(
    table,
    taken.filter((entry) => !before.has(entry.cidr)).map((entry) => entry.cidr),
  );
  const replaced = taken.flatMap(({ cidr }) => (before.has(cidr) ? [{ cidr, peer: before.get(cidr)! }] : []));
  if (replaced.length > 0) storeCidrs(table, replaced, before);
  throw new KernelError('set networks', 'full', {
    detail: `${before.size} are there, ${entries.length} were to be set`,
  });
}

export function removeCidrs(table: Table, cidrs: readonly string[]): void {
  deleteCidrs(
    table,
    cidrs.filter((cidr) => cidr !== otherIpv4.cidr),
  );
  if (cidrs.includes(otherIpv4.cidr)) setCidrs(table, [otherIpv4]);
}

function deleteCidrs(table: Table, cidrs: readonly string[]): void {
  const keys = cidrs.map(parseCidr);
  table.deleteMany(keys.length, (index, keyView, keyAt) => {
    writeCidrKey(keyView, keyAt, { prefix: keys[index]!.prefixBits, address: keys[index]!.address });
  });
}

export function listCidrs(table: Table): readonly CidrEntry[] {
  return walkCidrs(table).filter(({ cidr, peer }) => cidr !== otherIpv4.cidr || peer !== otherIpv4.peer);
}

function walkCidrs(table: Table): readonly CidrEntry[] {
  const found: CidrEntry[] = [];
  table.walk((keys, keyAt, values, valueAt) => {
    if (keys.getUint32(keyAt + cidrKeyLayout.prefix, true) > 128) return;
    const key = readCidrKey(keys, keyAt);
    found.push({
      cidr: cidrText({ prefixBits: key.prefix, address: key.address }),
      peer: values.getUint32(valueAt, true),
    });
  });
  return found;
}
