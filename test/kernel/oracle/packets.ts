/** Generated flows as packets: the first packet of each, and what the programs must do with it according to `decide()`. */
import {
  decide,
  type Flow,
  type Learnt,
  type Party,
  type PolicySet,
  protocolNumber,
  reasonText,
} from '@bulkhead/policy';
import { generateAddress, generateService, pick, type Random } from '@bulkhead/policy/testing';
import { echo, type Ends, icmp, ip, protocols, tcp, udp } from '../datapath/frames.ts';
import { hostAddresses, type Member } from './host.ts';

export interface Packet {
  readonly flow: Flow;
  readonly program: 'from_workload' | 'to_workload';
  readonly ifindex: number;
  readonly frame: Buffer;
  /** Both ends and ports in the connection table's terms; equal for packets of one connection, whichever way. */
  readonly key: string;
  readonly expected: { readonly action: string; readonly egress: string; readonly ingress: string };
  readonly source: End;
  readonly destination: End;
}

/** What members learnt by names, by address. */
export type LearntByMember = ReadonlyMap<Member, ReadonlyMap<string, Learnt>>;

export interface End {
  readonly party: Party;
  readonly member: Member | null;
  readonly address: string;
}

/** The key of a packet as `Connection` tells it. */
export function keyOf(
  protocol: number,
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
): string {
  return `${protocol} ${[`${source}|${sourcePort}`, `${destination}|${destinationPort}`].sort().join(' ')}`;
}

/** One packet, or null where chance drew ends that never meet in front of a workload. */
export function generatePacket(
  random: Random,
  policySet: PolicySet,
  members: ReadonlyMap<Member, Party>,
  learnt: LearntByMember,
  sourcePort: number,
): Packet | null {
  const isIpv6 = random(3) === 0;
  const source = generateEnd(random, members, isIpv6);
  const destination = asLearnt(generateEnd(random, members, isIpv6), source?.member ?? null, learnt);
  if (source === null || destination === null || source.address === destination.address) return null;
  const near = source.member ?? destination.member;
  if (near === null) return null;
  const ends: Ends =
    source.member === null
      ? {
          sourceMac: near.gatewayMac,
          destinationMac: near.mac,
          source: source.address,
          destination: destination.address,
        }
      : {
          sourceMac: near.mac,
          destinationMac: near.gatewayMac,
          source: source.address,
          destination: destination.address,
        };
  const message = generateMessage(random, ends, isIpv6, sourcePort);
  const flow = { source: source.party, destination: destination.party, protocol: message.protocol, port: message.port };
  const verdict = decide(policySet, flow);
  return {
    flow,
    program: source.member === null ? 'to_workload' : 'from_workload',
    ifindex: near.ifindex,
    frame: message.frame,
    key: keyOf(message.protocol, source.address, message.sourcePort, destination.address, message.port),
    expected: {
      action: verdict.action,
      egress: source.member === null ? '' : reasonText(verdict.egress.reason),
      ingress: destination.member === null ? '' : reasonText(verdict.ingress.reason),
    },
    source,
    destination,
  };
}

/** An address is known to its asker by the names that it learnt. */
function asLearnt(end: End | null, asker: Member | null, learnt: LearntByMember): End | null {
  if (end?.party.kind !== 'address' || asker === null) return end;
  const known = learnt.get(asker)?.get(end.address);
  return known === undefined ? end : { ...end, party: { ...end.party, names: known.names } };
}

function generateEnd(random: Random, members: ReadonlyMap<Member, Party>, isIpv6: boolean): End | null {
  const kind = random(10);
  if (kind < 7) {
    const [member, party] = pick(random, [...members]);
    return { party, member, address: isIpv6 ? member.ipv6 : member.ipv4 };
  }
  if (kind === 7) return { party: { kind: 'host' }, member: null, address: hostAddresses[isIpv6 ? 1 : 0] };
  const address = generateAddress(random);
  return address.includes(':') === isIpv6 ? { party: { kind: 'address', address }, member: null, address } : null;
}

/** Requests only: what answers or reports without a connection is dropped whatever policy says, which other tests show. */
export function generateMessage(
  random: Random,
  ends: Ends,
  isIpv6: boolean,
  sourcePort: number,
  service: { readonly protocol: number; readonly port: number } = generateService(random),
): { frame: Buffer; protocol: number; port: number; sourcePort: number } {
  const { protocol, port } = service;
  switch (protocol) {
    case protocols.tcp:
      return { frame: tcp(ends, sourcePort, port), protocol, port, sourcePort };
    case protocols.udp:
      return { frame: udp(ends, sourcePort, port), protocol, port, sourcePort };
    case protocols.sctp: {
      const header = Buffer.alloc(16);
      header.writeUInt16BE(sourcePort, 0);
      header.writeUInt16BE(port, 2);
      return { frame: ip(ends, protocol, header), protocol, port, sourcePort };
    }
    case protocols.icmp:
    case protocols.icmpv6: {
      const own = isIpv6 ? protocolNumber.icmpv6 : protocolNumber.icmp;
      if (random(2) === 0)
        return { frame: echo(ends, 'request', sourcePort), protocol: own, port: (isIpv6 ? 128 : 8) * 256, sourcePort };
      const type = isIpv6 ? pick(random, [141, 255]) : pick(random, [13, 255]);
      const code = random(4);
      return { frame: icmp(ends, type, code, Buffer.alloc(4)), protocol: own, port: type * 256 + code, sourcePort: 0 };
    }
    default:
      return { frame: ip(ends, protocol, Buffer.alloc(16)), protocol, port: 0, sourcePort: 0 };
  }
}
