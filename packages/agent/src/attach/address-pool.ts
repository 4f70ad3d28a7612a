/**
 * Which address is next. Pure: pools and what is taken are arguments, so is the time.
 *
 * The choice goes round the pool from where it stopped last, so that a released address rests as long as the pool allows; besides, a
 * released address is quarantined: a host that has not yet heard of the removal would judge the next owner as the former one.
 */
import { contains, networkSize, parseAddress, type Network } from './network-address.ts';

export interface AddressPool {
  readonly network: Network;
  /** Part of the network to choose from (`--ip-range`). Addresses asked for by name may lie outside it. */
  readonly range: Network;
  /** Where to go on: offset within `range`. */
  readonly cursor: bigint;
}

/** By numeric address: until when it may not be given out; `Infinity` while it is in use. */
export type Taken = ReadonlyMap<bigint, number>;

export type Choice =
  | { readonly kind: 'chosen'; readonly value: bigint; readonly cursor: bigint }
  /** `quarantined` addresses come free by themselves. */
  | { readonly kind: 'full'; readonly used: number; readonly quarantined: number }
  | { readonly kind: 'outside' | 'in-use' | 'reserved' };

/** The next free address of the pool. */
export function nextAddress(pool: AddressPool, taken: Taken, nowMs: number): Choice {
  const size = networkSize(pool.range);
  // Of so many different candidates one must be free, unless the range is smaller.
  const attempts = BigInt(taken.size + reservedCount + 1);
  for (let step = 0n; step < attempts && step < size; step++) {
    const offset = (pool.cursor + step) % size;
    const value = pool.range.first + offset;
    if (isReserved(pool.network, value) || (taken.get(value) ?? -Infinity) > nowMs) continue;
    return { kind: 'chosen', value, cursor: (offset + 1n) % size };
  }
  let used = 0;
  let quarantined = 0;
  for (const until of taken.values()) {
    if (until === Infinity) used++;
    else if (until > nowMs) quarantined++;
  }
  return { kind: 'full', used, quarantined };
}

/**
 * An address that was asked for by name. One in quarantine is given: that is a container with a fixed address that restarts, and its
 * endpoint is held until the manager has confirmed who it is.
 */
export function namedAddress(pool: AddressPool, taken: Taken, text: string): Choice {
  const address = parseAddress(text);
  if (address === null || !contains(pool.network, address)) return { kind: 'outside' };
  if (isReserved(pool.network, address.value)) return { kind: 'reserved' };
  if (taken.get(address.value) === Infinity) return { kind: 'in-use' };
  return { kind: 'chosen', value: address.value, cursor: pool.cursor };
}

const reservedCount = 2;

/** The network's own address and IPv4 broadcast. Networks of one or two addresses have neither (RFC 3021). */
function isReserved(network: Network, value: bigint): boolean {
  const size = networkSize(network);
  if (size <= 2n) return false;
  if (value === network.first) return true;
  return network.family === 4 && value === network.first + size - 1n;
}
