/** The kernel's order of the two ends of a connection. Pure. */
import { addressBytes, writeAddress } from './address.ts';
import type { ConnectionKey } from './port.ts';

const left = new DataView(new ArrayBuffer(addressBytes));
const right = new DataView(new ArrayBuffer(addressBytes));

/** True when the source is the greater end: addresses compared as two little-endian 64-bit words, then ports (bpf/maps.h). */
export function sourceIsHigh(key: ConnectionKey): boolean {
  writeAddress(key.source, left, 0);
  writeAddress(key.destination, right, 0);
  for (const at of [0, 8]) {
    const a = left.getBigUint64(at, true);
    const b = right.getBigUint64(at, true);
    if (a !== b) return a > b;
  }
  return key.sourcePort > key.destinationPort;
}
