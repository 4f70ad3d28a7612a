/** Endpoints as the bytes of the kernel's table. Most changes of an endpoint are of its word alone, so the rest is encoded once. */
import { endpointFlag, endpointKind, endpointLayout, endpointState, writeEndpoint } from '../generated/maps.ts';
import { KernelError, type EndpointEntry } from '../port.ts';

const noAddress = '::';
const identityMax = 2 ** 24 - 1;
const epochMax = 2 ** 16 - 1;

/** Puts the word in two halves: identity (bits 0–23), ruleset (24–47), epoch (48–63). Throws KernelError ERANGE. */
export function putWord(halves: Uint32Array, { slot, identity, ruleset, epoch }: EndpointEntry): void {
  const fits = isUpTo(identity, identityMax) && isUpTo(ruleset, identityMax) && isUpTo(epoch, epochMax);
  if (!fits) throw new KernelError(`set endpoint ${slot}`, 'ERANGE', { detail: `${identity}/${ruleset}/${epoch}` });
  halves[0] = identity | (ruleset << 24);
  halves[1] = (ruleset >>> 8) | (epoch << 16);
}

function isUpTo(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

export function flagsOf(entry: EndpointEntry): number {
  return entry.learns === true ? endpointFlag.endpointLearns : 0;
}

/** Offsets of what is neither word nor state nor flags. */
export const restOffsets: readonly number[] = Array.from({ length: endpointLayout.size }, (_, offset) => offset).filter(
  (offset) => offset >= 8 && offset !== endpointLayout.state && offset !== endpointLayout.flags,
);

interface Encoded {
  readonly entry: EndpointEntry;
  readonly bytes: Uint8Array;
}

/** Encodings of the endpoints that were asked about, by slot: at most one each. */
export class EndpointBytes {
  readonly #bySlot = new Map<number, Encoded>();

  /** The entry's bytes but for word, state and flags, which are to be ignored. */
  restOf(entry: EndpointEntry): Uint8Array {
    const known = this.#bySlot.get(entry.slot);
    if (known !== undefined && sameRest(known.entry, entry)) return known.bytes;
    const bytes = known?.bytes ?? new Uint8Array(endpointLayout.size);
    writeEndpoint(new DataView(bytes.buffer), 0, {
      word: 0n,
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
    });
    this.#bySlot.set(entry.slot, { entry, bytes });
    return bytes;
  }

  forget(slot: number): void {
    this.#bySlot.delete(slot);
  }
}

function sameRest(a: EndpointEntry, b: EndpointEntry): boolean {
  return (
    a.kind === b.kind &&
    a.mtu === b.mtu &&
    a.ifindex === b.ifindex &&
    a.generation === b.generation &&
    a.connectionsMax === b.connectionsMax &&
    a.mac === b.mac &&
    a.gatewayMac === b.gatewayMac &&
    a.ipv4 === b.ipv4 &&
    a.ipv6 === b.ipv6
  );
}
