/** Addresses that hosts claim for their workloads. One spelling for each, so that no second one gets past the check of who holds it. */
import { SocketAddress, isIPv4, isIPv6 } from 'node:net';
import { addressBits, parsePrefix, prefixContains } from '@bulkhead/policy';

export type ClaimedAddress =
  | { readonly kind: 'address'; readonly address: string }
  /** Means something on one link only; nobody else is told of it. */
  | { readonly kind: 'local' }
  | { readonly kind: 'refused'; readonly why: string };

/** Networks whose addresses no workload has: this host, loopback, multicast, broadcast, IPv4 in IPv6. */
const nobodysNetworks = networkBits(['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3', '::/127', '::ffff:0:0/96', 'ff00::/8']);
const linkLocalNetworks = networkBits(['169.254.0.0/16', 'fe80::/10']);

/** `allowed`: networks in which the host may claim addresses; null: any. */
export function claimedAddress(text: string, allowed: readonly string[] | null): ClaimedAddress {
  // IPv6 with a zone is a name for a link, not an address.
  if ((!isIPv4(text) && !isIPv6(text)) || text.includes('%')) return { kind: 'refused', why: 'is no address' };
  const { address } = new SocketAddress({ address: text, family: isIPv4(text) ? 'ipv4' : 'ipv6' });
  if (within(address, nobodysNetworks)) return { kind: 'refused', why: 'is no address of a workload' };
  if (within(address, linkLocalNetworks)) return { kind: 'local' };
  if (allowed !== null && !within(address, networkBits(allowed))) {
    return { kind: 'refused', why: `is outside the networks of this host (${allowed.join(', ')})` };
  }
  return { kind: 'address', address };
}

function within(address: string, networks: readonly string[]): boolean {
  const bits = addressBits(address);
  return bits !== null && networks.some((network) => prefixContains(network, bits));
}

/** Networks were checked where they came in; one that is none contains nothing. */
function networkBits(networks: readonly string[]): readonly string[] {
  return networks.flatMap((network) => {
    const parsed = parsePrefix(network);
    return parsed.kind === 'prefix' ? [parsed.prefix.bits] : [];
  });
}
