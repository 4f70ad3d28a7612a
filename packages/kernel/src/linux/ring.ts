/**
 * Reader of the BPF ring buffer through its memory: a page with the consumer's position that is ours to write, a page with the
 * producer's, and the data. The kernel offers the data twice in a row, so that no record is ever split. Every mapped page counts as
 * memory of the process, so a window over the data is mapped that moves along with the reader.
 */
import { counterNames, eventKind, limit, readEvent } from '../generated/maps.ts';
import { KernelError, type Events, type KernelEvent } from '../port.ts';
import { tcpStates } from './connections.ts';
import { mapMemory, type Mapping } from './libc.ts';

const pageBytes = 4096;
/** Divides the size of the ring. A window takes about 30 µs to move, for about 8,000 events. */
const windowBytes = 1024 * 1024;
const dataOffset = 2 * pageBytes;
const headerBytes = 8;
const busyBit = 0x80000000;
const discardBit = 0x40000000;
const lengthMask = 0x3fffffff;

const kinds: ReadonlyMap<number, KernelEvent['kind']> = new Map([
  [eventKind.new, 'new'],
  [eventKind.deny, 'deny'],
  [eventKind.drop, 'drop'],
  [eventKind.ask, 'ask'],
  [eventKind.close, 'close'],
]);

function decode(view: DataView, at: number): KernelEvent {
  const event = readEvent(view, at);
  const kind = kinds.get(event.kind);
  if (kind === undefined) throw new KernelError('read an event', 'EPROTO', { detail: `kind ${event.kind}` });
  return {
    kind,
    reason: counterNames[event.reason] ?? `counter${event.reason}`,
    atNs: event.atNs,
    slot: event.slot[0] !== 0 ? event.slot[0] : event.slot[1],
    sourceSlot: event.slot[0],
    destinationSlot: event.slot[1],
    sourceIdentity: event.identity[0],
    destinationIdentity: event.identity[1],
    egressRule: event.rule[0],
    ingressRule: event.rule[1],
    key: {
      protocol: event.protocol,
      source: event.source,
      sourcePort: event.sourcePort,
      destination: event.destination,
      destinationPort: event.destinationPort,
    },
    revision: event.revision,
    bytes: event.length,
    tcpState: tcpStates[event.tcpState] ?? 'none',
    observed: event.observed !== 0,
    firstSeenNs: event.firstSeenNs,
    totalPackets: event.packets,
    totalBytes: event.bytes,
  };
}

interface Ring {
  readonly consumer: BigUint64Array;
  readonly producer: BigUint64Array;
  readonly window: Mapping;
  readonly headers: Uint32Array;
  readonly data: DataView;
  readonly mappings: readonly Mapping[];
  /** Where the window begins in the data. */
  from: number;
}

/** Offset in the window of an offset in the data; the window moves there first if need be. A record that begins in it ends in it. */
function inWindow(ring: Ring, at: number): number {
  const from = at - (at % windowBytes);
  if (ring.from !== from) {
    ring.window.moveTo(dataOffset + from);
    ring.from = from;
  }
  return at - from;
}

export class RingEvents implements Events {
  readonly #lost: () => bigint;
  #ring: Ring | null = null;

  constructor(lost: () => bigint) {
    this.#lost = lost;
  }

  open(fd: number): void {
    this.close();
    const operation = 'map the event ring';
    const consumer = mapMemory(fd, 0, pageBytes, true, operation);
    const producer = mapMemory(fd, pageBytes, pageBytes, false, operation);
    const window = mapMemory(fd, dataOffset, windowBytes + pageBytes, false, operation);
    this.#ring = {
      consumer: new BigUint64Array(consumer.memory, 0, 1),
      producer: new BigUint64Array(producer.memory, 0, 1),
      window,
      headers: new Uint32Array(window.memory),
      data: new DataView(window.memory),
      mappings: [consumer, producer, window],
      from: 0,
    };
  }
  close(): void {
    for (const mapping of this.#ring?.mappings ?? []) mapping.release();
    this.#ring = null;
  }

  drain(visit: (event: KernelEvent) => void, eventsMax: number): number {
    const ring = this.#ring;
    if (ring === null) throw new KernelError('drain events', 'ENOENT', { detail: 'the programs are not loaded' });
    const mask = limit.eventsBytes - 1;
    let position = Number(Atomics.load(ring.consumer, 0));
    const end = Number(Atomics.load(ring.producer, 0));
    let delivered = 0;
    while (position < end && delivered < eventsMax) {
      const at = inWindow(ring, position & mask);
      const header = Atomics.load(ring.headers, at >>> 2);
      if ((header & busyBit) !== 0) break;
      const length = header & lengthMask;
      // The position moves first: an event whose visitor throws is not delivered twice.
      const event = (header & discardBit) === 0 ? decode(ring.data, at + headerBytes) : null;
      position += (headerBytes + length + 7) & ~7;
      Atomics.store(ring.consumer, 0, BigInt(position));
      if (event !== null) {
        delivered++;
        visit(event);
      }
    }
    return delivered;
  }

  lost(): bigint {
    return this.#lost();
  }
}
