/**
 * Endpoints, in an array that is mapped into memory: one aligned 64-bit store makes {identity, ruleset, epoch} visible to packets.
 */
import {
  endpointFlag,
  endpointKind,
  endpointLayout,
  endpointState,
  limit,
  readEndpoint,
  usageLayout,
  writeEndpoint,
  type EndpointFields,
} from '../generated/maps.ts';
import { KernelError, type EndpointEntry, type EndpointState } from '../port.ts';
import type { Mapping } from './libc.ts';
import type { Tables } from './tables.ts';

const noAddress = '::';
const identityMax = 2 ** 24 - 1;
const epochMax = 2 ** 16 - 1;
const wordBytes = 8;

const kinds: readonly EndpointEntry['kind'][] = ['veth', 'tap', 'host'];
const states: readonly EndpointState[] = ['held', 'governed', 'fenced', 'observed'];

function wordOf(entry: EndpointEntry): bigint {
  const { identity, ruleset, epoch } = entry;
  const fits = [
    identity <= identityMax,
    ruleset <= identityMax,
    epoch <= epochMax,
    identity >= 0,
    ruleset >= 0,
    epoch >= 0,
  ];
  if (fits.includes(false))
    throw new KernelError(`set endpoint ${entry.slot}`, 'ERANGE', { detail: `${identity}/${ruleset}/${epoch}` });
  return BigInt(identity) | (BigInt(ruleset) << 24n) | (BigInt(epoch) << 48n);
}

function flagsOf(entry: EndpointEntry): number {
  return entry.learns === true ? endpointFlag.endpointLearns : 0;
}

function fieldsOf(entry: EndpointEntry, word: bigint): EndpointFields {
  return {
    word,
    state: endpointState[entry.state],
    kind: endpointKind[entry.kind],
    mtu: entry.mtu,
    ifindex: entry.ifindex,
    generation: entry.generation,
    connectionsMax: entry.connectionsMax,
    mac: entry.mac,
    gatewayMac: entry.gatewayMac,
    flags: flagsOf(entry),
    ipv4: entry.ipv4 ?? noAddress,
    ipv6: entry.ipv6 ?? noAddress,
  };
}

function entryOf(slot: number, fields: EndpointFields): EndpointEntry {
  return {
    slot,
    ifindex: fields.ifindex,
    kind: kinds.find((kind) => endpointKind[kind] === fields.kind) ?? 'veth',
    state: states.find((state) => endpointState[state] === fields.state) ?? 'fenced',
    identity: Number(fields.word & 0xffffffn),
    ruleset: Number((fields.word >> 24n) & 0xffffffn),
    epoch: Number(fields.word >> 48n),
    generation: fields.generation,
    mac: fields.mac,
    gatewayMac: fields.gatewayMac,
    ipv4: fields.ipv4 === noAddress ? null : fields.ipv4,
    ipv6: fields.ipv6 === noAddress ? null : fields.ipv6,
    mtu: fields.mtu,
    connectionsMax: fields.connectionsMax,
    ...((fields.flags & endpointFlag.endpointLearns) === 0 ? {} : { learns: true }),
  };
}

export class Endpoints {
  readonly #tables: Tables;
  readonly #memory: Mapping;
  readonly #usage: Mapping;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #words: BigUint64Array;
  readonly #usageWords: BigUint64Array;
  readonly #scratch = new DataView(new ArrayBuffer(endpointLayout.size));

  constructor(tables: Tables) {
    this.#tables = tables;
    this.#memory = tables.endpoints.mapValues();
    this.#usage = tables.usage.mapValues();
    this.#view = new DataView(this.#memory.memory);
    this.#bytes = new Uint8Array(this.#memory.memory);
    this.#words = new BigUint64Array(this.#memory.memory);
    this.#usageWords = new BigUint64Array(this.#usage.memory);
  }

  /** Unmaps the arrays: the object may not be used afterwards. */
  release(): void {
    this.#memory.release();
    this.#usage.release();
  }

  set(entry: EndpointEntry): void {
    const at = this.#at(entry.slot);
    const word = wordOf(entry);
    writeEndpoint(this.#scratch, 0, fieldsOf(entry, word));
    const state = endpointState[entry.state];
    const now = this.#bytes[at + endpointLayout.state]!;
    const sameRest = now !== endpointState.absent && this.#sameRest(at);
    if (!sameRest) {
      // Packets may see the other fields change only while there is no endpoint here.
      this.#setState(at, endpointState.absent);
      const before = this.#view.getUint32(at + endpointLayout.ifindex, true);
      if (before !== entry.ifindex) this.#removeInterface(before, entry.slot);
      this.#copyRest(at);
    }
    // Before a word whose rows are meant for it.
    Atomics.store(this.#bytes, at + endpointLayout.flags, flagsOf(entry));
    // A state that judges must find its word; a state that stops must be seen before the word that it stops.
    const stops = entry.state === 'held' || entry.state === 'fenced';
    if (sameRest && stops) this.#setState(at, state);
    Atomics.store(this.#words, (at + endpointLayout.word) / wordBytes, word);
    this.#setState(at, state);
    if (entry.kind !== 'host') this.#setInterface(entry.ifindex, entry.slot);
  }

  remove(slot: number): void {
    const at = this.#at(slot);
    this.#setState(at, endpointState.absent);
    this.#removeInterface(this.#view.getUint32(at + endpointLayout.ifindex, true), slot);
    for (let offset = 0; offset < endpointLayout.size; offset += wordBytes) {
      Atomics.store(this.#words, (at + offset) / wordBytes, 0n);
    }
  }

  list(): readonly EndpointEntry[] {
    const found: EndpointEntry[] = [];
    for (let slot = 1; slot < limit.endpointsMax; slot++) {
      if (!this.isAbsent(slot)) found.push(entryOf(slot, readEndpoint(this.#view, slot * endpointLayout.size)));
    }
    return found;
  }

  get(slot: number): EndpointEntry | undefined {
    const at = this.#at(slot);
    return this.isAbsent(slot) ? undefined : entryOf(slot, readEndpoint(this.#view, at));
  }

  isAbsent(slot: number): boolean {
    return this.#bytes[slot * endpointLayout.size + endpointLayout.state] === endpointState.absent;
  }

  /** Gives back the budget of a deleted connection; `index` 0: the endpoint opened it, 1: it was opened to it. */
  payBack(slot: number, index: 0 | 1): void {
    const place = (slot * usageLayout.size + usageLayout.connections) / wordBytes + index;
    for (;;) {
      const count = Atomics.load(this.#usageWords, place);
      // An entry may outlive the accounting of a layout that was replaced.
      if (count === 0n) return;
      if (Atomics.compareExchange(this.#usageWords, place, count, count - 1n) === count) return;
    }
  }

  #at(slot: number): number {
    if (!Number.isInteger(slot) || slot < 1 || slot >= limit.endpointsMax) {
      throw new KernelError(`endpoint ${slot}`, 'ERANGE', { detail: `slots are 1 to ${limit.endpointsMax - 1}` });
    }
    return slot * endpointLayout.size;
  }

  #setState(at: number, state: number): void {
    Atomics.store(this.#bytes, at + endpointLayout.state, state);
  }

  #isRest(offset: number): boolean {
    const inWord = offset >= endpointLayout.word && offset < endpointLayout.word + wordBytes;
    return !inWord && offset !== endpointLayout.state && offset !== endpointLayout.flags;
  }
  #sameRest(at: number): boolean {
    for (let offset = 0; offset < endpointLayout.size; offset++) {
      if (this.#isRest(offset) && this.#bytes[at + offset] !== this.#scratch.getUint8(offset)) return false;
    }
    return true;
  }
  #copyRest(at: number): void {
    for (let offset = 0; offset < endpointLayout.size; offset++) {
      if (this.#isRest(offset)) this.#bytes[at + offset] = this.#scratch.getUint8(offset);
    }
  }

  #setInterface(ifindex: number, slot: number): void {
    const { interfaces } = this.#tables;
    interfaces.keyView.setUint32(0, ifindex, true);
    interfaces.valueView.setUint32(0, slot, true);
    if (interfaces.update() === 'full') throw new KernelError(`set endpoint ${slot}`, 'full', { detail: 'interfaces' });
  }
  /** Another endpoint may have taken over the interface's number. */
  #removeInterface(ifindex: number, slot: number): void {
    const { interfaces } = this.#tables;
    interfaces.keyView.setUint32(0, ifindex, true);
    if (interfaces.lookup() && interfaces.valueView.getUint32(0, true) === slot) interfaces.delete();
  }
}
