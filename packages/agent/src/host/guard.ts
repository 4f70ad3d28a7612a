/**
 * The lock-out guard of this host: which ports it keeps open whatever documents say. As facts about the host they are part of what policy
 * means (`decide`), and of the host's rows; the kernel has them a second time beside the rows, so that they hold while rows are missing,
 * and for the program that stands behind a detached one.
 */
import { isIP } from 'node:net';
import type { HostPort } from '@bulkhead/kernel';
import { guardFact, guardSpans, protocolNumber, type Direction, type Labels } from '@bulkhead/policy';

/** TCP ports by direction. */
export type GuardPorts = Readonly<Record<Direction, readonly number[]>>;

export interface ManagerAddress {
  readonly host: string;
  readonly port: number;
}

export interface GuardSources {
  /** Where SSH servers listen. */
  readonly ssh: readonly number[];
  /** Where this agent reaches its manager: the API (enrolment), and the link. */
  readonly managers: readonly ManagerAddress[];
  /** Further ports to be kept open, from the agent's options. */
  readonly more: readonly number[];
  readonly hostAddresses: ReadonlySet<string>;
}

const sshPort = 22;
/** A fact is a label, whose value has 512 characters. */
const portsMax = 32;
const directions: readonly Direction[] = ['egress', 'ingress'];
const everyAddress = ['0.0.0.0', '::'];

export function guardPorts({ ssh, managers, more, hostAddresses }: GuardSources): GuardPorts {
  // Where the manager is this machine, it is others that have to reach it.
  const served = managers.filter(({ host }) => isHere(host, hostAddresses)).map(({ port }) => port);
  return {
    ingress: distinct([sshPort, ...more, ...served, ...ssh]),
    egress: distinct(managers.map(({ port }) => port)),
  };
}

function isHere(host: string, addresses: ReadonlySet<string>): boolean {
  if (isIP(host) === 0) return host === 'localhost';
  return host.startsWith('127.') || host === '::1' || addresses.has(host);
}

function distinct(ports: readonly number[]): readonly number[] {
  return [...new Set(ports)].slice(0, portsMax).sort((a, b) => a - b);
}

export function guardLabels(ports: GuardPorts): Labels {
  return Object.fromEntries(
    directions.map((direction) => [guardFact[direction], ports[direction].map((port) => `tcp-${port}`).join('_')]),
  );
}

/** The same for the kernel. What neighbours and routers say to each other it lets through without looking here. */
export function guardEntries(labels: Labels, rule: number): readonly HostPort[] {
  return directions.flatMap((direction) =>
    guardSpans(direction, labels)
      .filter(({ protocol }) => protocol !== protocolNumber.icmpv6)
      .flatMap(({ protocol, from, to }) =>
        Array.from({ length: to - from + 1 }, (_, index) => ({ protocol, port: from + index })),
      )
      .flatMap((at) => everyAddress.map((address): HostPort => ({ kind: 'guard', direction, address, rule, ...at }))),
  );
}
