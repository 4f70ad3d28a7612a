/** The connection table: walks, removals and the sweep of what is over. */
import { sourceIsHigh } from '../connection-key.ts';
import {
  connectionFlag,
  connectionKeyLayout,
  connectionLayout,
  readConnection,
  readConnectionKey,
  tcpState,
  writeConnectionKey,
} from '../generated/maps.ts';
import { KernelError, type Connection, type ConnectionKey, type TcpState } from '../port.ts';
import type { Endpoints } from './endpoints.ts';
import { monotonicNs } from './libc.ts';
import type { Table } from './table.ts';

/** By the kernel's number. */
export const tcpStates: readonly TcpState[] = ['none', 'syn-sent', 'established', 'closing', 'closed', 'reset'];
if (tcpState.reset !== tcpStates.indexOf('reset')) throw new KernelError('read states of TCP', 'EPROTO');

function decode(keys: DataView, keyAt: number, values: DataView, valueAt: number): Connection {
  const key = readConnectionKey(keys, keyAt);
  const value = readConnection(values, valueAt);
  const fromHigh = value.originatorIsHigh !== 0;
  return {
    protocol: key.protocol,
    source: fromHigh ? key.high : key.low,
    sourcePort: fromHigh ? key.highPort : key.lowPort,
    destination: fromHigh ? key.low : key.high,
    destinationPort: fromHigh ? key.lowPort : key.highPort,
    sourceSlot: value.slot[0],
    destinationSlot: value.slot[1],
    sourceIdentity: value.identity[0],
    destinationIdentity: value.identity[1],
    egressRule: value.rule[0],
    ingressRule: value.rule[1],
    state: tcpStates[value.state] ?? 'none',
    decided: (value.flags & connectionFlag.decided) !== 0,
    reported: (value.flags & connectionFlag.reported) !== 0,
    revision: value.revision,
    firstSeenNs: value.firstSeenNs,
    lastSeenNs: value.lastSeenNs,
    packets: value.packets,
    bytes: value.bytes,
  };
}

function writeKey(key: ConnectionKey, view: DataView, at: number): void {
  const high = sourceIsHigh(key);
  writeConnectionKey(view, at, {
    low: high ? key.destination : key.source,
    high: high ? key.source : key.destination,
    lowPort: high ? key.destinationPort : key.sourcePort,
    highPort: high ? key.sourcePort : key.destinationPort,
    protocol: key.protocol,
  });
}

export class Connections {
  readonly #table: Table;
  readonly #endpoints: Endpoints;

  constructor(table: Table, endpoints: Endpoints) {
    this.#table = table;
    this.#endpoints = endpoints;
  }

  forEach(visit: (connection: Connection) => void): void {
    this.#table.walk((keys, keyAt, values, valueAt) => visit(decode(keys, keyAt, values, valueAt)));
  }

  remove(keys: readonly ConnectionKey[]): void {
    for (const key of keys) {
      writeKey(key, this.#table.keyView, 0);
      if (this.#table.take()) this.#payBack();
    }
  }

  /** Removes what has been idle for too long, and what belonged to an endpoint that is gone. */
  sweep(onClosed: (connection: Connection) => void): number {
    const now = monotonicNs();
    const over: Buffer[] = [];
    this.#table.walk((keys, keyAt, values, valueAt) => {
      if (this.#isOver(values, valueAt, now))
        over.push(Buffer.from(new Uint8Array(keys.buffer, keyAt, connectionKeyLayout.size)));
    });
    let removed = 0;
    for (const key of over) {
      key.copy(this.#table.key);
      if (!this.#table.take()) continue;
      if (!this.#isOver(this.#table.valueView, 0, now) && this.#table.insert() === 'done') {
        // A packet used the entry after the walk had judged it.
        continue;
      }
      this.#payBack();
      removed++;
      onClosed(decode(this.#table.keyView, 0, this.#table.valueView, 0));
    }
    return removed;
  }

  /** The difference is signed: a packet may have used the entry after `now` was read. */
  #isOver(values: DataView, at: number, now: bigint): boolean {
    const idle = values.getBigUint64(at + connectionLayout.idleNs, true);
    const lastSeen = values.getBigUint64(at + connectionLayout.lastSeenNs, true);
    if (now - lastSeen > idle) return true;
    return [0, 4].some((side) => {
      const slot = values.getUint32(at + connectionLayout.slot + side, true);
      return slot !== 0 && this.#endpoints.isAbsent(slot);
    });
  }

  /** Gives back the budget of the entry in the scratch value: its originator's, or its responder's where outside opened it. */
  #payBack(): void {
    const originator = this.#table.valueView.getUint32(connectionLayout.slot, true);
    const responder = this.#table.valueView.getUint32(connectionLayout.slot + 4, true);
    if (originator !== 0) this.#endpoints.payBack(originator, 0);
    else this.#endpoints.payBack(responder, 1);
  }
}
