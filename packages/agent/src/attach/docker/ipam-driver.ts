/** The address part of the plugin: pools and addresses, answered from persisted state alone. */
import type { AddressBook } from './address-book.ts';
import { hostNetwork, withoutPrefix } from '../network-address.ts';
import { method, type PluginMethod, type PluginMethods } from './plugin-server.ts';
import { releaseAddressRequest, releasePoolRequest, requestAddressRequest, requestPoolRequest } from './requests.ts';

export const localSpace = 'bulkhead-local';
export const globalSpace = 'bulkhead-global';

export function ipamMethods(book: AddressBook): PluginMethods {
  return new Map<string, PluginMethod>([
    ['/IpamDriver.GetCapabilities', () => ({ RequiresMACAddress: false, RequiresRequestReplay: false })],
    [
      '/IpamDriver.GetDefaultAddressSpaces',
      () => ({ LocalDefaultAddressSpace: localSpace, GlobalDefaultAddressSpace: globalSpace }),
    ],
    [
      '/IpamDriver.RequestPool',
      method(requestPoolRequest, (request) => {
        const pool = book.requestPool({
          space: request.AddressSpace ?? localSpace,
          network: request.Pool ?? null,
          range: request.SubPool ?? null,
          ipv6: request.V6 ?? false,
        });
        return { PoolID: pool.poolId, Pool: pool.network, Data: {} };
      }),
    ],
    [
      '/IpamDriver.ReleasePool',
      method(releasePoolRequest, (request) => {
        book.releasePool(request.PoolID);
        return {};
      }),
    ],
    [
      '/IpamDriver.RequestAddress',
      method(requestAddressRequest, (request) => {
        const named = request.Address === undefined || request.Address === null ? null : withoutPrefix(request.Address);
        const address = book.requestAddress(request.PoolID, named);
        const isGateway = request.Options?.['RequestAddressType'] === 'com.docker.network.gateway';
        // An endpoint is alone on its link: everything else goes through its gateway. The gateway tells the engine the network.
        const prefix = isGateway ? book.networkOf(request.PoolID)?.split('/')[1] : hostNetwork(address).split('/')[1];
        return { Address: `${address}/${prefix}`, Data: {} };
      }),
    ],
    [
      '/IpamDriver.ReleaseAddress',
      method(releaseAddressRequest, (request) => {
        book.releaseAddress(request.PoolID, withoutPrefix(request.Address));
        return {};
      }),
    ],
  ]);
}
