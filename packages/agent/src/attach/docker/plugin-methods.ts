/** The plugin's table of methods: names of the engine's protocol to what answers them. */
import type { AddressBook } from './address-book.ts';
import { ipamMethods } from './ipam-driver.ts';
import type { NetworkDriver } from './network-driver.ts';
import { method, type PluginMethod, type PluginMethods } from './plugin-server.ts';
import {
  createEndpointRequest,
  createNetworkRequest,
  endpointRequest,
  externalConnectivityRequest,
  joinRequest,
  networkRequest,
} from './requests.ts';

/** `global`: the engine keeps the network in its cluster's store, where it has one; `local`: each host has its own. */
export type PluginScope = 'local' | 'global';

export function pluginMethods(driver: NetworkDriver, book: AddressBook, scope: PluginScope): PluginMethods {
  const nothing: PluginMethod = () => ({});
  return new Map<string, PluginMethod>([
    ...ipamMethods(book),
    ['/Plugin.Activate', () => ({ Implements: ['NetworkDriver', 'IpamDriver'] })],
    ['/NetworkDriver.GetCapabilities', () => ({ Scope: scope, ConnectivityScope: scope })],
    ['/NetworkDriver.AllocateNetwork', () => ({ Options: {} })],
    ['/NetworkDriver.FreeNetwork', nothing],
    ['/NetworkDriver.CreateNetwork', method(createNetworkRequest, (request) => driver.createNetwork(request))],
    ['/NetworkDriver.DeleteNetwork', method(networkRequest, (request) => driver.deleteNetwork(request.NetworkID))],
    ['/NetworkDriver.CreateEndpoint', method(createEndpointRequest, (request) => driver.createEndpoint(request))],
    ['/NetworkDriver.DeleteEndpoint', method(endpointRequest, (request) => driver.deleteEndpoint(request.EndpointID))],
    ['/NetworkDriver.EndpointOperInfo', () => ({ Value: {} })],
    ['/NetworkDriver.Join', method(joinRequest, (request) => driver.join(request))],
    ['/NetworkDriver.Leave', method(endpointRequest, (request) => driver.leave(request.EndpointID))],
    [
      '/NetworkDriver.ProgramExternalConnectivity',
      method(externalConnectivityRequest, (request) => driver.programExternalConnectivity(request)),
    ],
    [
      '/NetworkDriver.RevokeExternalConnectivity',
      method(endpointRequest, (request) => driver.revokeExternalConnectivity(request.EndpointID)),
    ],
    // Other machines of a cluster are the manager's knowledge, not the engine's.
    ['/NetworkDriver.DiscoverNew', nothing],
    ['/NetworkDriver.DiscoverDelete', nothing],
  ]);
}
