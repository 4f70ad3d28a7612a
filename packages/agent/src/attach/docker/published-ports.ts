/** Which host ports a container's published ports get. Pure but for the probe that asks whether the host's own processes use one. */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { canonicalAddress } from '../network-address.ts';
import type { PublishedPort } from './docker-records.ts';
import { PluginError } from './plugin-server.ts';
import type { PortBinding } from './requests.ts';

/** Where a port is taken from that the user left to the engine (`-p 80`), as Docker does. */
const ephemeral = { from: 49_153, to: 65_535 } as const;
const attemptsMax = 256;
const protocols: Readonly<Record<number, PublishedPort['protocol']>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };
const everyAddress = new Set(['', '0.0.0.0', '::']);

export type PortProbe = (port: Omit<PublishedPort, 'port'>) => Promise<boolean>;

/**
 * Assigns host ports. `taken` are those of the other endpoints. Throws PluginError in the engine's own words where one is in use.
 * A binding without a host port gets the next free one after `start`.
 */
export async function assignPorts(
  bindings: readonly PortBinding[],
  taken: readonly PublishedPort[],
  isFree: PortProbe,
  start: number,
): Promise<readonly PublishedPort[]> {
  const assigned: PublishedPort[] = [];
  for (const binding of bindings) {
    const protocol = protocols[binding.Proto];
    if (protocol === undefined) throw new PluginError(`published port: IP protocol ${binding.Proto} has no ports`);
    const hostAddress = hostAddressOf(binding.HostIP ?? '');
    const from = binding.HostPort ?? 0;
    const to = Math.max(from, binding.HostPortEnd ?? 0);
    const candidates = from === 0 ? ephemeralFrom(start + assigned.length) : numbers(from, to);
    const used = [...taken, ...assigned];
    let found: PublishedPort | undefined;
    for (const hostPort of candidates) {
      const candidate = { protocol, hostAddress, hostPort };
      if (used.some((other) => collide(other, candidate)) || !(await isFree(candidate))) continue;
      found = { ...candidate, port: binding.Port };
      break;
    }
    if (found === undefined) {
      const ports = from === 0 ? 'every ephemeral port tried' : from === to ? `port ${from}` : `ports ${from}-${to}`;
      throw new PluginError(`Bind for ${hostAddress || '0.0.0.0'} failed: ${ports}/${protocol} is already allocated`);
    }
    assigned.push(found);
  }
  return assigned;
}

/** True when both would answer the same packet. */
export function collide(one: Omit<PublishedPort, 'port'>, other: Omit<PublishedPort, 'port'>): boolean {
  if (one.protocol !== other.protocol || one.hostPort !== other.hostPort) return false;
  if (one.hostAddress === other.hostAddress) return true;
  const wide = [one, other].find((port) => everyAddress.has(port.hostAddress));
  if (wide === undefined) return false;
  const narrow = wide === one ? other : one;
  if (wide.hostAddress === '' || narrow.hostAddress === '') return true;
  return wide.hostAddress.includes(':') === narrow.hostAddress.includes(':');
}

function hostAddressOf(text: string): string {
  if (text === '') return '';
  const address = canonicalAddress(text);
  if (address === null)
    throw new PluginError(`published port: host address ${JSON.stringify(text)} is not an IP address`);
  return address;
}

function numbers(from: number, to: number): readonly number[] {
  return Array.from({ length: Math.min(to - from + 1, attemptsMax) }, (_, index) => from + index);
}

function ephemeralFrom(start: number): readonly number[] {
  const span = ephemeral.to - ephemeral.from + 1;
  return Array.from({ length: attemptsMax }, (_, index) => ephemeral.from + ((start + index) % span));
}

/** True when no process of the host holds the port. Address translation would hide that process, silently. */
export const portIsFree: PortProbe = async ({ protocol, hostAddress, hostPort }) => {
  if (protocol === 'sctp') return true;
  const addresses = hostAddress === '' ? ['0.0.0.0', '::'] : [hostAddress];
  for (const address of addresses) {
    const code = protocol === 'tcp' ? await tryTcp(address, hostPort) : await tryUdp(address, hostPort);
    // An address that the host has not (yet), or no IPv6 at all: nobody can hold a port there.
    if (code === 'EADDRINUSE') return false;
  }
  return true;
};

function tryTcp(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'EIO'));
    server.listen({ host, port, exclusive: true, ipv6Only: host.includes(':') }, () =>
      server.close(() => resolve(null)),
    );
  });
}

function tryUdp(address: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', ipv6Only: true });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      socket.close();
      resolve(error.code ?? 'EIO');
    });
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve(null)));
  });
}
