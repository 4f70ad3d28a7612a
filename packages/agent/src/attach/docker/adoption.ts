/**
 * Takes interfaces of Docker's own bridge networks over, live: the container keeps its addresses, routes and connections, and the bridge
 * goes on forwarding; the programs judge at the ports of the bridge. First `observe` (judged and reported), then `enforce`.
 *
 * An adoption lasts as long as the interface: a container that is started again has a new one, and is ungoverned until it is adopted
 * again or moved to a network of ours, which alone leaves no window at a start.
 */
import { execFile } from 'node:child_process';
import type { InterfaceInfo, Routes } from '@bulkhead/kernel';
import type { EndpointMode, EndpointRegistry, LocalWorkload } from '../../model.ts';
import type { Records } from '../../state.ts';
import { withoutPrefix } from '../network-address.ts';
import type { ContainerFacts, ContainerInterface } from './container-facts.ts';
import type { AdoptedRecord } from './docker-records.ts';

export interface AdoptionOptions {
  readonly registry: EndpointRegistry;
  readonly routes: Routes;
  readonly records: Records<AdoptedRecord>;
  /** The name of our driver: its interfaces need no adoption. */
  readonly driver: string;
}

export class AdoptionError extends Error {
  override readonly name = 'AdoptionError';
}

const toolMs = 10_000;

export class Adoption {
  readonly #options: AdoptionOptions;
  constructor(options: AdoptionOptions) {
    this.#options = options;
  }

  /** By the engine's endpoint id. */
  mode(endpoint: string): EndpointMode | undefined {
    return endpoint === '' ? undefined : this.#options.records.get(endpoint)?.mode;
  }

  /** Adopts every interface of the container that is not ours, or changes how those adopted are treated. All of them, or none. */
  async adopt(facts: ContainerFacts, workload: string, mode: EndpointMode): Promise<void> {
    const { registry, records } = this.#options;
    const interfaces = this.#foreign(facts);
    const ports = await this.#hostSides(facts, interfaces);
    const made: string[] = [];
    try {
      for (const [index, found] of interfaces.entries()) {
        const id = endpointId(found.endpoint);
        if (registry.endpoint(id) === undefined) {
          made.push(found.endpoint);
          await this.#add(found, ports[index]!, mode);
          const known = registry.workload(workload);
          if (known !== undefined) registry.bindWorkload(id, known);
        } else registry.setMode(id, mode);
        records.set(found.endpoint, { endpoint: found.endpoint, workload, mode });
      }
    } catch (error) {
      for (const endpoint of made) await this.release(endpoint);
      throw error;
    }
  }

  records(): readonly AdoptedRecord[] {
    return this.#options.records.entries().map(([, record]) => record);
  }

  /** After a start: the endpoint is known, its workload may have been learnt only now. */
  bind(endpoint: string, workload: LocalWorkload): void {
    const known = this.#options.registry.endpoint(endpointId(endpoint));
    if (known !== undefined && known.workload !== workload.workload)
      this.#options.registry.bindWorkload(known.endpoint, workload);
  }

  /** Gives one interface back to Docker alone. */
  async release(endpoint: string): Promise<void> {
    await this.#options.registry.removeEndpoint(endpointId(endpoint));
    this.#options.records.delete(endpoint);
  }

  async releaseAll(workload: string): Promise<void> {
    for (const [endpoint, record] of this.#options.records.entries())
      if (record.workload === workload) await this.release(endpoint);
  }

  /** Forgets adoptions whose interface is gone, as seen in the engine's list of running containers. */
  async keepOnly(endpoints: ReadonlySet<string>): Promise<void> {
    for (const [endpoint] of this.#options.records.entries())
      if (!endpoints.has(endpoint)) await this.release(endpoint);
  }

  #foreign(facts: ContainerFacts): readonly ContainerInterface[] {
    if (!facts.running || facts.pid === null)
      throw new AdoptionError(`${facts.name} does not run: it has no interface`);
    if (facts.network.kind !== 'own') {
      throw new AdoptionError(
        `${facts.name} uses network ${facts.network.kind}: it has no interface of its own that could be adopted`,
      );
    }
    const foreign = facts.network.interfaces.filter((found) => found.driver !== this.#options.driver);
    const other = foreign.find((found) => found.driver !== 'bridge');
    if (other !== undefined)
      throw new AdoptionError(
        `${facts.name}: network ${other.networkName} has driver ${other.driver}; only bridge can be adopted`,
      );
    if (foreign.length === 0) throw new AdoptionError(`${facts.name} has no interface of another driver`);
    return foreign;
  }

  /** The container's own view names the other end of each of its veths; the host's view must agree. */
  async #hostSides(facts: ContainerFacts, interfaces: readonly ContainerInterface[]): Promise<readonly HostSide[]> {
    const inside = parseInside(
      await run('nsenter', ['-t', String(facts.pid), '-n', 'ip', '-d', '-j', 'address', 'show']),
    );
    const host = await this.#options.routes.interfaces();
    return interfaces.map((found) => {
      const mine = inside.find((candidate) => candidate.addresses.some((address) => found.addresses.includes(address)));
      const port = host.find((candidate) => candidate.ifindex === mine?.hostIfindex);
      if (mine === undefined || port === undefined || port.kind !== 'veth' || port.peerIfindex !== mine.ifindex) {
        throw new AdoptionError(`${facts.name}: the host side of its interface on ${found.networkName} was not found`);
      }
      const bridge = host.find((candidate) => candidate.ifindex === port.master);
      if (bridge === undefined) throw new AdoptionError(`${facts.name}: ${port.name} is not a port of a bridge`);
      return { port, bridge, mac: mine.mac };
    });
  }

  async #add(found: ContainerInterface, side: HostSide, mode: EndpointMode): Promise<void> {
    await this.#options.registry.addEndpoint({
      endpoint: endpointId(found.endpoint),
      kind: 'veth',
      ifindex: side.port.ifindex,
      interfaceName: side.port.name,
      mac: side.mac,
      gatewayMac: side.bridge.mac,
      ipv4: found.addresses.find((address) => !address.includes(':')) ?? null,
      ipv6: found.addresses.find((address) => address.includes(':')) ?? null,
      mtu: side.port.mtu,
      network: found.networkId,
      labels: {},
      mode,
    });
  }
}

interface HostSide {
  readonly port: InterfaceInfo;
  readonly bridge: InterfaceInfo;
  readonly mac: string;
}

interface InsideInterface {
  readonly ifindex: number;
  readonly hostIfindex: number;
  readonly mac: string;
  readonly addresses: readonly string[];
}

export function endpointId(engineEndpoint: string): string {
  return `adopted-${engineEndpoint}`;
}

/** `ip -d -j address show` of the container's namespace; what is not a veth with its peer elsewhere is left out. */
export function parseInside(text: string): readonly InsideInterface[] {
  const listed: unknown = JSON.parse(text);
  if (!Array.isArray(listed)) return [];
  return listed.flatMap((entry: unknown) => {
    if (typeof entry !== 'object' || entry === null) return [];
    const { ifindex, link_index, address, addr_info } = entry as Record<string, unknown>;
    if (typeof ifindex !== 'number' || typeof link_index !== 'number' || typeof address !== 'string') return [];
    const addresses = (Array.isArray(addr_info) ? addr_info : []).flatMap((info: unknown) => {
      const local = typeof info === 'object' && info !== null && 'local' in info ? info.local : undefined;
      return typeof local === 'string' ? withoutPrefix(local) : [];
    });
    return [{ ifindex, hostIfindex: link_index, mac: address, addresses }];
  });
}

function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { timeout: toolMs, encoding: 'utf8' }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      reject(new AdoptionError(`${command}: ${stderr.trim() || error.message}`, { cause: error }));
    });
  });
}
