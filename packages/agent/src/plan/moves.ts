/** Changes of who an address is: which operations, in which order, and which peer each address leaves and becomes. */
import type { AddressEntry, EndpointEntry, LearntEntry, LearntKey } from '@bulkhead/kernel';
import { reservedIdentity } from '@bulkhead/policy';
import type { PeerMove } from './contents.ts';
import { learntKey, type ActualKernel, type CidrEntry, type DesiredKernel, type Operation } from './model.ts';
import { prefixLength, PrefixTable } from './prefixes.ts';

export interface Moves {
  /**
   * In an order in which every address changes its peer once, from the old to the new: exact addresses are set first and what was learnt
   * next, then networks are added (longest first), changed, removed (shortest first); what was learnt lapses or goes after that, and
   * exact addresses are removed last.
   */
  readonly operations: readonly Operation[];
  readonly moves: readonly PeerMove[];
  /** Exact addresses whose peer changed. */
  readonly addresses: readonly string[];
  /** Networks with addresses whose peer changed. */
  readonly networks: readonly string[];
  /** Addresses that are another peer to a single endpoint. */
  readonly learnt: readonly LearntMove[];
}

export interface LearntMove extends LearntKey, PeerMove {}

/** An address's peer when an entry, or the lack of one, gives it. */
export function peerOf(
  address: string,
  entry: AddressEntry | undefined,
  identityOf: (slot: number) => number | undefined,
  prefixes: PrefixTable,
): number {
  if (entry === undefined) return prefixes.match(address) ?? reservedIdentity.world;
  switch (entry.kind) {
    case 'endpoint':
      return identityOf(entry.slot) ?? reservedIdentity.unknown;
    case 'remote':
      return entry.identity;
    case 'host':
      return reservedIdentity.host;
  }
}

export function movesBetween(actual: ActualKernel, desired: DesiredKernel): Moves {
  const networks = networkChanges(actual.cidrs, desired.cidrs);
  const changed = changedAddresses(actual.addresses, desired.addresses);
  const learnt = learntChanges(actual.learnt, desired.learnt);
  const learntCount = learnt.set.length + learnt.removed.length;
  if (networks.set.length + networks.removed.length + changed.length + learntCount === 0)
    return { operations: [], moves: [], addresses: [], networks: [], learnt: [] };
  const [before, after] = [new PrefixTable(actual.cidrs), new PrefixTable(desired.cidrs)];
  const identityBefore = (slot: number): number | undefined => visibleIdentity(actual.endpoints.get(slot));
  const identityAfter = (slot: number): number | undefined => desired.endpoints.get(slot)?.identity;

  const moves: PeerMove[] = [];
  const addresses: string[] = [];
  const set: Operation[] = [];
  const remove: Operation[] = [];
  for (const address of changed) {
    const entry = desired.addresses.get(address);
    const from = peerOf(address, actual.addresses.get(address), identityBefore, before);
    const to = peerOf(address, entry, identityAfter, after);
    if (from !== to) {
      moves.push({ from, to });
      addresses.push(address);
    }
    if (entry === undefined) remove.push({ kind: 'remove-address', address });
    else set.push({ kind: 'set-address', address, entry });
  }
  const moved: string[] = [];
  for (const cidr of [...networks.set.map((entry) => entry.cidr), ...networks.removed]) {
    const [from, to] = [before.match(cidr) ?? reservedIdentity.world, after.match(cidr) ?? reservedIdentity.world];
    if (from === to) continue;
    moves.push({ from, to });
    moved.push(cidr);
  }
  const learntMoves: LearntMove[] = [];
  for (const key of [...learnt.set, ...learnt.removed]) {
    const [old, next] = [actual.learnt.get(learntKey(key)), desired.learnt.get(learntKey(key))];
    const [behind, ahead] = [before.match(key.address), after.match(key.address)].map(
      (peer) => peer ?? reservedIdentity.world,
    ) as [number, number];
    learntMoves.push({ slot: key.slot, address: key.address, from: old?.peer ?? behind, to: next?.peer ?? ahead });
    // To what is new, one that has lapsed is no peer.
    moves.push({ from: old?.lapsed === false ? old.peer : behind, to: next?.lapsed === false ? next.peer : ahead });
  }
  moves.push(...learntMoves.map(({ from, to }) => ({ from, to })));
  const operations = [
    ...set,
    ...learntSetting(learnt.set.filter(({ lapsed }) => !lapsed)),
    ...networkOperations(networks),
    ...learntSetting(learnt.set.filter(({ lapsed }) => lapsed)),
    ...learntRemoval(learnt.removed),
    ...remove,
  ];
  return {
    operations,
    moves: distinct(moves).filter(({ from, to }) => from !== to),
    addresses,
    networks: moved,
    learnt: learntMoves.filter(({ from, to }) => from !== to),
  };
}

export function distinct(moves: readonly PeerMove[]): readonly PeerMove[] {
  return [...new Map(moves.map((move) => [`${move.from} ${move.to}`, move])).values()];
}

function visibleIdentity(entry: EndpointEntry | undefined): number | undefined {
  return entry?.identity;
}

/** Networks in one operation: a batch is stored whole or not at all, and a smaller one that fails denies less. */
const networksPerOperation = 1024;

interface NetworkChanges {
  readonly set: readonly CidrEntry[];
  readonly removed: readonly string[];
}

function networkChanges(actual: ReadonlyMap<string, number>, desired: ReadonlyMap<string, number>): NetworkChanges {
  if (actual === desired) return { set: [], removed: [] };
  const added: CidrEntry[] = [];
  const changed: CidrEntry[] = [];
  for (const [cidr, peer] of desired) {
    const found = actual.get(cidr);
    if (found === undefined) added.push({ cidr, peer });
    else if (found !== peer) changed.push({ cidr, peer });
  }
  const removed = [...actual.keys()].filter((cidr) => !desired.has(cidr));
  added.sort((a, b) => prefixLength(b.cidr) - prefixLength(a.cidr));
  removed.sort((a, b) => prefixLength(a) - prefixLength(b));
  return { set: [...added, ...changed], removed };
}

function networkOperations({ set, removed }: NetworkChanges): readonly Operation[] {
  const operations: Operation[] = [];
  for (let at = 0; at < set.length; at += networksPerOperation) {
    operations.push({ kind: 'set-cidrs', entries: set.slice(at, at + networksPerOperation) });
  }
  for (let at = 0; at < removed.length; at += networksPerOperation) {
    operations.push({ kind: 'remove-cidrs', cidrs: removed.slice(at, at + networksPerOperation) });
  }
  return operations;
}

interface LearntChanges {
  readonly set: readonly LearntEntry[];
  readonly removed: readonly LearntKey[];
}

function learntChanges(
  actual: ReadonlyMap<string, LearntEntry>,
  desired: ReadonlyMap<string, LearntEntry>,
): LearntChanges {
  if (actual.size + desired.size === 0) return { set: [], removed: [] };
  const set = [...desired.values()].filter((entry) => {
    const found = actual.get(learntKey(entry));
    return found === undefined || found.peer !== entry.peer || found.lapsed !== entry.lapsed;
  });
  const removed = [...actual.values()]
    .filter((entry) => !desired.has(learntKey(entry)))
    .map(({ slot, address }) => ({ slot, address }));
  return { set, removed };
}

/** What endpoints learnt in one operation. */
const learntPerOperation = 256;

function learntSetting(entries: readonly LearntEntry[]): readonly Operation[] {
  const operations: Operation[] = [];
  for (let at = 0; at < entries.length; at += learntPerOperation)
    operations.push({ kind: 'set-learnt', entries: entries.slice(at, at + learntPerOperation) });
  return operations;
}

function learntRemoval(keys: readonly LearntKey[]): readonly Operation[] {
  const operations: Operation[] = [];
  for (let at = 0; at < keys.length; at += learntPerOperation)
    operations.push({ kind: 'remove-learnt', keys: keys.slice(at, at + learntPerOperation) });
  return operations;
}

function changedAddresses(
  actual: ReadonlyMap<string, AddressEntry>,
  desired: ReadonlyMap<string, AddressEntry>,
): readonly string[] {
  const changed: string[] = [];
  desired.forEach((entry, address) => {
    if (!sameAddress(actual.get(address), entry)) changed.push(address);
  });
  actual.forEach((_, address) => {
    if (!desired.has(address)) changed.push(address);
  });
  return changed;
}

export function sameAddress(a: AddressEntry | undefined, b: AddressEntry | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.kind === 'endpoint') return b.kind === 'endpoint' && a.slot === b.slot;
  if (a.kind === 'remote') return b.kind === 'remote' && a.identity === b.identity && a.host === b.host;
  return b.kind === 'host';
}
