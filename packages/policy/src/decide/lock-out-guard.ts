/**
 * What a host needs so that somebody can still get to it and mend it, whatever documents say: SSH, the link to the manager, its address
 * and its neighbours. Which ports those are its agent knows, and says as facts about the host.
 */
import type { Document } from '../documents/document.ts';
import { type Direction, factPrefix, type Labels, protocolNumber } from '../model.ts';
import { portListSpans, type PortSpan } from '../resolve/ports.ts';
import { labelOf } from '../select/selector.ts';

/** In the form of named ports: `tcp-22_tcp-7443`. Ingress is SSH's port 22 where nothing is said. */
export const guardFact: Readonly<Record<Direction, string>> = {
  ingress: `${factPrefix}guard-ingress`,
  egress: `${factPrefix}guard-egress`,
};
const guardDefault: Readonly<Record<Direction, string>> = { ingress: 'tcp-22', egress: '' };

/** DHCP and DHCPv6, towards servers and back. */
const leases: Readonly<Record<Direction, string>> = { ingress: 'udp-68_udp-546', egress: 'udp-67_udp-547' };

/** ICMPv6's router and neighbour discovery, types 133 to 137: without it no IPv6 address can be reached. */
const neighbours: PortSpan = { protocol: protocolNumber.icmpv6, from: 133 * 256, to: 137 * 256 + 255 };

/** True for a document that may cut its hosts off for good: it is taken only from somebody who insists. */
export function needsForce(document: Document): boolean {
  return document.kind === 'Segment' && document.spec.lockOutGuard === false;
}

/** What is let through at one side of the host with these labels. */
export function guardSpans(direction: Direction, labels: Labels): readonly PortSpan[] {
  const own = labelOf(labels, guardFact[direction]) ?? guardDefault[direction];
  return [...portListSpans(own), ...portListSpans(leases[direction]), neighbours];
}

export function guardAllows(
  direction: Direction,
  labels: Labels,
  { protocol, port }: { readonly protocol: number; readonly port: number },
): boolean {
  return guardSpans(direction, labels).some(
    (span) => span.protocol === protocol && span.from <= port && port <= span.to,
  );
}
