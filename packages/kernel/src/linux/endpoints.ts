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
  type EndpointFields,
} from '../generated/maps.ts';
import { KernelError, type EndpointEntry, type EndpointState } from '../port.ts';
import { EndpointBytes, flagsOf, putWord, restOffsets } from './endpoint-bytes.ts';
import type { Mapping } from './libc.ts';
import type { Tables } from './tables.ts';

const noAddress = '::';
const wordBytes = 8;

const kinds: readonly EndpointEntry['kind'][] = ['veth', 'tap', 'host'];
const states: readonly EndpointState[] = ['held', 'governed', 'fenced', 'observed'];

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
  readonly #encoded = new EndpointBytes();
  /** Slot of each interface, as this process wrote it. */
  readonly #interfaces = new Map<number, number>();
  /** The two halves of a word, for a store in one step. */
  readonly #halves = new Uint32Array(2);
  readonly #word = new BigUint64Array(this.#halves.buffer);

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
    putWord(this.#halves, entry);
    const rest = this.#encoded.restOf(entry);
    const state = endpointState[entry.state];
    const now = this.#bytes[at + endpointLayout.state]!;
    const sameRest = now !== endpointState.absent && this.#sameRest(at, rest);
    if (!sameRest) {
      // Packets may see the other fields change only while there is no endpoint here.
      this.#setState(at, endpointState.absent);
      const before = this.#view.getUint32(at + endpointLayout.ifindex, true);
      if (before !== entry.ifindex) this.#removeInterface(before, entry.slot);
      for (const offset of restOffsets) this.#bytes[at + offset] = rest[offset]!;
    }
    // Before a word whose rows are meant for it.
    Atomics.store(this.#bytes, at + endpointLayout.flags, flagsOf(entry));
    // A state that judges must find its word; a state that stops must be seen before the word that it stops.
    const stops = entry.state === 'held' || entry.state === 'fenced';
    if (sameRest && stops) this.#setState(at, state);
    Atomics.store(this.#words, (at + endpointLayout.word) / wordBytes, this.#word[0]!);
    this.#setState(at, state);
    if (entry.kind !== 'host') this.#setInterface(entry.ifindex, entry.slot);
  }

  remove(slot: number): void {
    const at = this.#at(slot);
    this.#encoded.forget(slot);
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

  /** Whether the endpoint in the table is this one, with its word and state. */
  has(entry: EndpointEntry): boolean {
    const at = this.#at(entry.slot);
    putWord(this.#halves, entry);
    return (
      this.#view.getUint32(at + endpointLayout.word, true) === this.#halves[0] &&
      this.#view.getUint32(at + endpointLayout.word + 4, true) === this.#halves[1] &&
      this.#bytes[at + endpointLayout.state] === endpointState[entry.state] &&
      this.#bytes[at + endpointLayout.flags] === flagsOf(entry) &&
      this.#sameRest(at, this.#encoded.restOf(entry))
    );
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

  #sameRest(at: number, rest: Uint8Array): boolean {
    for (const offset of restOffsets) if (this.#bytes[at + offset] !== rest[offset]) return false;
    return true;
  }

  #setInterface(ifindex: number, slot: number): void {
    if (this.#interfaces.get(ifindex) === slot) return;
    const { interfaces } = this.#tables;
    interfaces.keyView.setUint32(0, ifindex, true);
    interfaces.valueView.setUint32(0, slot, true);
    if (interfaces.update() === 'full') throw new KernelError(`set endpoint ${slot}`, 'full', { detail: 'interfaces' });
    this.#interfaces.set(ifindex, slot);
  }
  /** Another endpoint may have taken over the interface's number. */
  #removeInterface(ifindex: number, slot: number): void {
    const { interfaces } = this.#tables;
    interfaces.keyView.setUint32(0, ifindex, true);
    if (!interfaces.lookup() || interfaces.valueView.getUint32(0, true) !== slot) return;
    interfaces.delete();
    this.#interfaces.delete(ifindex);
  }
}
