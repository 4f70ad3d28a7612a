/** What the programs at uplinks do before they judge: bpf/from_uplink.h, to_uplink.h. Multicast is left to the real programs. */
import { limit } from '../generated/maps.ts';
import { tableKey } from './connections.ts';
import { drop } from './events.ts';
import { tcpFlag, type Packet, type Parsed } from './frame.ts';
import type { Arrival, Delivery, Surroundings } from './packet-judging.ts';
import { isPublished } from './verdict.ts';

const toStack: Delivery = { kind: 'passed', slot: 0 };
const protocolTcp = 6;

/** Null where the packet is the host's own, and is to be judged as such. */
export function atUplink(around: Surroundings, parsed: Parsed, arrival: Arrival): Delivery | null {
  if (arrival.hook !== 'to-uplink' && arrival.hook !== 'from-uplink') return null;
  const { pinned } = around;
  const isSubject = pinned.endpoints.has(limit.hostSlot);
  const { packet } = parsed;
  if (packet === null) return isSubject ? null : toStack;
  if (arrival.hook === 'to-uplink') {
    if (!isSubject) return toStack;
    if (!arrival.forwarded) return null;
    if (pinned.addresses.get(packet.source)?.kind === 'host') noteTranslated(around, packet);
    return toStack;
  }
  const owner = pinned.addresses.get(packet.source);
  if (owner !== undefined) return spoofed(around, packet, arrival, owner.kind === 'endpoint' ? owner.slot : 0);
  if (!isSubject || pinned.addresses.get(packet.destination)?.kind !== 'host') return toStack;
  return isLeftToNat(around, packet) ? toStack : null;
}

function noteTranslated({ pinned }: Surroundings, packet: Packet): void {
  const key = tableKey(packet);
  if (pinned.translated.has(key)) return;
  const [oldest] = pinned.translated;
  if (pinned.translated.size >= limit.translatedMax && oldest !== undefined) pinned.translated.delete(oldest);
  pinned.translated.add(key);
}

/** The host's NAT may know better than we whose it is: the host itself gets it under no circumstances. */
function isLeftToNat({ pinned }: Surroundings, packet: Packet): boolean {
  const own = pinned.connections.get(tableKey(packet));
  if (own !== undefined) return false;
  const begins = packet.protocol === protocolTcp && (packet.tcpFlags & (tcpFlag.syn | tcpFlag.ack)) === tcpFlag.syn;
  if (!begins && pinned.translated.has(tableKey(packet))) return true;
  return isPublished(pinned, packet.destination, packet.protocol * 0x10000 + packet.destinationPort);
}

function spoofed(around: Surroundings, packet: Packet, arrival: Arrival, slot: number): Delivery {
  const seen = {
    packet,
    bytes: 0,
    answers: false,
    arrival,
    slot,
    slots: [0, slot] as [number, number],
    vouched: false,
  };
  return drop(around, seen, 'uplink_spoofed');
}
