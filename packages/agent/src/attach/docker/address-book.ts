/** Pools and the addresses that are taken from them, in memory and on disk alike: a change is durable when the call returns. */
import {
  canonicalAddress,
  formatAddress,
  formatNetwork,
  networkSize,
  overlap,
  parseAddress,
  parseNetwork,
  contains,
  type Network,
} from '../network-address.ts';
import { namedAddress, nextAddress, type AddressPool, type Choice } from '../address-pool.ts';
import type { AgentState, Records } from '../../state.ts';
import { PluginError } from './plugin-server.ts';
import type { AddressRecord, PoolRecord } from './docker-records.ts';

export interface AddressBookOptions {
  readonly state: AgentState;
  readonly pools: Records<PoolRecord>;
  readonly addresses: Records<AddressRecord>;
  readonly quarantineMs: number;
  readonly nowMs: () => number;
}

/** Where a network without `--subnet` gets its addresses from, one /20 (or /64) after the other. */
const defaultBlocks: Readonly<Record<4 | 6, { readonly block: Network; readonly prefix: number }>> = {
  4: { block: parseNetwork('10.208.0.0/12')!, prefix: 20 },
  6: { block: parseNetwork('fd62:6865::/48')!, prefix: 64 },
};
const poolsMax = 1024;
const addressesMax = 131_072;

export interface PoolRequest {
  readonly space: string;
  readonly network: string | null;
  readonly range: string | null;
  readonly ipv6: boolean;
}

interface OpenPool {
  record: PoolRecord;
  readonly network: Network;
  readonly range: Network;
  /** Numeric address → until when it is taken. */
  readonly taken: Map<bigint, number>;
}

export class AddressBook {
  readonly #options: AddressBookOptions;
  readonly #pools = new Map<string, OpenPool>();
  #addresses = 0;

  constructor(options: AddressBookOptions) {
    this.#options = options;
    for (const [, record] of options.pools.entries()) this.#open(record);
    for (const [, record] of options.addresses.entries()) {
      const address = parseAddress(record.address);
      if (address === null) continue;
      this.#pools.get(record.poolId)?.taken.set(address.value, record.quarantinedUntilMs ?? Infinity);
      this.#addresses++;
    }
  }

  requestPool(request: PoolRequest): { readonly poolId: string; readonly network: string } {
    this.#forgetReleased();
    const { network, range } = this.#requested(request);
    const poolId = `${request.space}/${formatNetwork(network)}/${formatNetwork(range)}`;
    const other = [...this.#pools.values()].find(
      (pool) => pool.record.space === request.space && pool.record.open && overlap(pool.network, network),
    );
    if (other !== undefined) {
      throw new PluginError(
        `pool ${formatNetwork(network)} overlaps with ${other.record.network}, which another network uses`,
      );
    }
    const former = this.#pools.get(poolId);
    if (former === undefined && this.#pools.size >= poolsMax) throw new PluginError(`no more than ${poolsMax} pools`);
    const texts = { network: formatNetwork(network), range: formatNetwork(range) };
    const cursor = former?.record.cursor ?? '0';
    const record = { poolId, space: request.space, ...texts, cursor, open: true, sinceMs: this.#options.nowMs() };
    this.#store(former ?? this.#open(record), record);
    return { poolId, network: record.network };
  }

  /** Idempotent. What was in use rests first: a network with the same addresses may be made at once. */
  releasePool(poolId: string): void {
    const open = this.#pools.get(poolId);
    if (open === undefined) return;
    this.#options.state.transaction(() => {
      for (const [value, until] of open.taken)
        if (until === Infinity) this.releaseAddress(poolId, this.#text(open, value));
      this.#store(open, { ...open.record, open: false });
    });
  }

  /** Pools in use, for comparison with the engine's networks. */
  pools(): readonly PoolRecord[] {
    return [...this.#pools.values()].map((pool) => pool.record).filter((record) => record.open);
  }

  /** Takes an address, the named one or the next. Returns it without a prefix length. */
  requestAddress(poolId: string, named: string | null): string {
    const open = this.#pools.get(poolId);
    if (open === undefined || !open.record.open) throw new PluginError(`pool ${poolId} is unknown`);
    const nowMs = this.#options.nowMs();
    this.#forgetRested(open, nowMs);
    const pool: AddressPool = { network: open.network, range: open.range, cursor: BigInt(open.record.cursor) };
    const choice =
      named === null || named === '' ? nextAddress(pool, open.taken, nowMs) : namedAddress(pool, open.taken, named);
    if (choice.kind !== 'chosen') throw new PluginError(refusal(choice, open.record.network, named));
    if (this.#addresses >= addressesMax) throw new PluginError(`no more than ${addressesMax} addresses on one host`);
    const address = this.#text(open, choice.value);
    this.#options.state.transaction(() => {
      this.#options.addresses.set(addressKey(poolId, address), { poolId, address, quarantinedUntilMs: null });
      this.#store(open, { ...open.record, cursor: String(choice.cursor) });
    });
    if (!open.taken.has(choice.value)) this.#addresses++;
    open.taken.set(choice.value, Infinity);
    return address;
  }

  /** Gives an address back into quarantine. Idempotent. */
  releaseAddress(poolId: string, text: string): void {
    const open = this.#pools.get(poolId);
    const address = parseAddress(text);
    if (open === undefined || address === null || open.taken.get(address.value) !== Infinity) return;
    const until = this.#options.nowMs() + this.#options.quarantineMs;
    const canonical = formatAddress(address);
    this.#options.addresses.set(addressKey(poolId, canonical), {
      poolId,
      address: canonical,
      quarantinedUntilMs: until,
    });
    open.taken.set(address.value, until);
  }

  /** Prefix length of the pool's network, as text for `address/prefix`. */
  networkOf(poolId: string): string | undefined {
    return this.#pools.get(poolId)?.record.network;
  }

  /** Addresses in use, for comparison with the engine. */
  used(): readonly { readonly poolId: string; readonly address: string }[] {
    return [...this.#pools.values()].flatMap((open) =>
      [...open.taken]
        .filter(([, until]) => until === Infinity)
        .map(([value]) => ({ poolId: open.record.poolId, address: this.#text(open, value) })),
    );
  }

  #open(record: PoolRecord): OpenPool {
    const open = {
      record,
      network: networkOf(record.network, 'pool'),
      range: networkOf(record.range, 'range'),
      taken: new Map<bigint, number>(),
    };
    this.#pools.set(record.poolId, open);
    return open;
  }

  #store(open: OpenPool, record: PoolRecord): void {
    this.#options.pools.set(record.poolId, record);
    open.record = record;
  }

  #text(open: OpenPool, value: bigint): string {
    return formatAddress({ family: open.network.family, value });
  }

  /** Quarantines that are over need no memory; the ring order of the choice stays. */
  #forgetRested(open: OpenPool, nowMs: number): void {
    const rested = [...open.taken].filter(([, until]) => until <= nowMs).map(([value]) => value);
    if (rested.length === 0) return;
    this.#options.state.transaction(() => {
      for (const value of rested)
        this.#options.addresses.delete(addressKey(open.record.poolId, this.#text(open, value)));
    });
    for (const value of rested) open.taken.delete(value);
    this.#addresses -= rested.length;
  }

  #forgetReleased(): void {
    const nowMs = this.#options.nowMs();
    for (const [poolId, pool] of this.#pools) {
      if (pool.record.open) continue;
      this.#forgetRested(pool, nowMs);
      if (pool.taken.size > 0) continue;
      this.#options.pools.delete(poolId);
      this.#pools.delete(poolId);
    }
  }

  #requested(request: PoolRequest): { readonly network: Network; readonly range: Network } {
    const family = request.ipv6 ? 6 : 4;
    const named = (text: string | null, what: string) => (text === null || text === '' ? null : networkOf(text, what));
    const network = named(request.network, 'pool') ?? this.#freeNetwork(request.space, family);
    const range = named(request.range, 'range') ?? network;
    const text = formatNetwork(network);
    if (network.family !== family) throw new PluginError(`pool ${text}: not an IPv${family} network`);
    if (networkSize(network) < 4n) throw new PluginError(`pool ${text}: too small for a gateway and an endpoint`);
    if (!contains(network, { family: range.family, value: range.first }) || networkSize(range) > networkSize(network)) {
      throw new PluginError(`range ${formatNetwork(range)} is not inside pool ${text}`);
    }
    return { network, range };
  }

  #freeNetwork(space: string, family: 4 | 6): Network {
    const { block, prefix } = defaultBlocks[family];
    const inUse = [...this.#pools.values()].filter((pool) => pool.record.space === space).map((pool) => pool.network);
    const candidate = { family, first: block.first, prefix };
    const size = networkSize(candidate);
    // Each pool in use spoils at most a few candidates of this size; a pool larger than the block spoils them all.
    for (let first = block.first; first < block.first + networkSize(block); first += size) {
      const network = { ...candidate, first };
      if (!inUse.some((used) => overlap(used, network))) return network;
    }
    throw new PluginError(`no free network is left in ${formatNetwork(block)}: name one with --subnet`);
  }
}

const addressKey = (poolId: string, address: string): string => `${poolId} ${address}`;

function networkOf(text: string, what: string): Network {
  const network = parseNetwork(text);
  if (network === null)
    throw new PluginError(`${what} ${JSON.stringify(text.slice(0, 64))}: expected a network such as 10.1.0.0/16`);
  return network;
}

function refusal(choice: Exclude<Choice, { readonly kind: 'chosen' }>, network: string, named: string | null): string {
  const address = named === null ? '' : (canonicalAddress(named) ?? JSON.stringify(named.slice(0, 64)));
  switch (choice.kind) {
    case 'full':
      return `no free address in ${network}: ${choice.used} are in use, ${choice.quarantined} rest before they are used again`;
    case 'outside':
      return `address ${address} is not in ${network}`;
    case 'in-use':
      return `address ${address} is in use`;
    case 'reserved':
      return `address ${address} is the network's own or its broadcast address`;
  }
}
