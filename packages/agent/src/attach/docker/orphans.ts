/** What the plugin holds for the engine, and whether the engine still knows of it. Pure. */
import { canonicalAddress, withoutPrefix } from '../network-address.ts';
import type { AddressBook } from './address-book.ts';
import type { NetworkSummary } from './engine-api.ts';
import type { NetworkDriver } from './network-driver.ts';

/** All of the engine at one time: `endpoints` are those of our networks. */
export interface Seen {
  readonly networks: readonly NetworkSummary[];
  readonly endpoints: ReadonlySet<string>;
}

export type HeldThing = { readonly key: string } & (
  | { readonly kind: 'endpoint'; readonly endpoint: string }
  | { readonly kind: 'network'; readonly network: string }
  | { readonly kind: 'pool'; readonly poolId: string; readonly subnet: string }
  | { readonly kind: 'address'; readonly poolId: string; readonly subnet: string; readonly address: string }
);

type Holder = Pick<NetworkDriver, 'endpoints' | 'networks'>;
type Book = Pick<AddressBook, 'pools' | 'used' | 'networkOf'>;

export function heldThings(driver: Holder, book: Book): readonly HeldThing[] {
  return [
    ...driver.endpoints().map(({ endpoint }) => ({ kind: 'endpoint' as const, key: `endpoint ${endpoint}`, endpoint })),
    ...driver.networks().map(({ network }) => ({ kind: 'network' as const, key: `network ${network}`, network })),
    ...book
      .pools()
      .map(({ poolId, network }) => ({ kind: 'pool' as const, key: `pool ${poolId}`, poolId, subnet: network })),
    ...book.used().map(({ poolId, address }) => ({
      ...{ kind: 'address' as const, key: `address ${poolId} ${address}`, poolId, address },
      subnet: book.networkOf(poolId) ?? '',
    })),
  ];
}

export function isKnown(thing: HeldThing, seen: Seen, driverName: string, driver: Holder): boolean {
  const ours = seen.networks.filter((network) => network.Driver === driverName);
  switch (thing.kind) {
    case 'endpoint':
      return seen.endpoints.has(thing.endpoint);
    case 'network':
      return ours.some((network) => network.Id === thing.network);
    case 'pool':
      return ipamUsers(seen, driverName).some((network) => subnetsOf(network).includes(thing.subnet));
    case 'address': {
      const users = ipamUsers(seen, driverName).filter((network) => subnetsOf(network).includes(thing.subnet));
      // A network of another driver with addresses of ours: who has them is that driver's knowledge.
      if (users.some((network) => network.Driver !== driverName)) return true;
      const auxiliary = users.flatMap((network) =>
        (network.IPAM.Config ?? []).flatMap((config) => Object.values(config.AuxiliaryAddresses ?? {})),
      );
      if (auxiliary.some((address) => canonicalAddress(withoutPrefix(address)) === thing.address)) return true;
      const gateways = driver.networks().flatMap(({ ipv4, ipv6 }) => [ipv4?.gateway, ipv6?.gateway]);
      return (
        gateways.includes(thing.address) ||
        driver.endpoints().some(({ ipv4, ipv6 }) => ipv4 === thing.address || ipv6 === thing.address)
      );
    }
  }
}

const ipamUsers = (seen: Seen, driverName: string): readonly NetworkSummary[] =>
  seen.networks.filter((network) => network.IPAM.Driver === driverName);

const subnetsOf = (network: NetworkSummary): readonly string[] =>
  (network.IPAM.Config ?? []).flatMap(({ Subnet }) => Subnet ?? []);
