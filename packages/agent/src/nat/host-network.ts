/**
 * Keeps the host's table, its gateways and what forwarding needs in line with what the attachments want. Changes that come while one is
 * applied are applied together; whoever asked learns when the kernel has theirs.
 */
import { KernelError, type Routes } from '@bulkhead/kernel';
import type { Logger } from 'pino';
import { hostNetwork } from '../attach/network-address.ts';
import type { PublishedAt } from '../model.ts';
import { acceptInDockerUser } from './docker-user.ts';
import { hostRuleset, tableName, type HostTables, type NatNetwork, type NatPort } from './ruleset.ts';

/** What one attachment contributes. */
export interface HostWish {
  readonly networks: readonly NatNetwork[];
  readonly published: readonly NatPort[];
  readonly interfaces: readonly string[];
}

/** The host needs a link-local address to ask for an endpoint's IPv6 neighbour; the workload never has to use it. */
export const hostLinkLocal = 'fe80::1';

export interface HostNetworkOptions {
  readonly routes: Routes;
  readonly log: Logger;
  readonly setHostAddresses: (owner: string, addresses: readonly string[]) => void;
  readonly setPublished: (ports: readonly PublishedAt[]) => void;
  /** The gateways are up (or gone): the resolver listens on them. */
  readonly onGateways: (gateways: readonly string[]) => Promise<void>;
}

export class HostNetwork {
  readonly #options: HostNetworkOptions;
  readonly #wishes = new Map<string, HostWish>();
  readonly #gateways = new Set<string>();
  readonly #unreachable = new Set<string>();
  #running: Promise<void> = Promise.resolve();
  #queued: Promise<void> | null = null;
  #applied: string | null = null;
  #toVerify = true;

  constructor(options: HostNetworkOptions) {
    this.#options = options;
  }

  /** Replaces what `owner` wants. Rejects with KernelError where the kernel refused; the next call tries all of it again. */
  set(owner: string, wish: HostWish): Promise<void> {
    this.#wishes.set(owner, wish);
    return this.#soon();
  }

  networks(): readonly NatNetwork[] {
    return [...this.#wishes.values()].flatMap((wish) => wish.networks);
  }

  /** Also looks whether somebody else (an engine that starts, an administrator) changed the host's tables, and repairs them. */
  verify(): Promise<void> {
    this.#toVerify = true;
    return this.#soon();
  }

  #soon(): Promise<void> {
    // One is running, one waits: the waiting one sees every change made before it begins.
    this.#queued ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#queued = null;
        this.#running = this.#applyNow();
        return this.#running;
      });
    return this.#queued;
  }

  async #applyNow(): Promise<void> {
    const { routes, log } = this.#options;
    const wishes = [...this.#wishes.values()];
    const tables: HostTables = {
      networks: wishes.flatMap((wish) => wish.networks),
      published: wishes.flatMap((wish) => wish.published),
      interfaces: [...new Set(wishes.flatMap((wish) => wish.interfaces))].sort(),
    };
    await this.#applyUnreachable(tables.networks);
    await this.#applyGateways(tables.networks);
    await this.#applyForwarding(tables.networks);
    this.#options.setPublished(tables.published.flatMap(publishedAt));
    const text = hostRuleset(tables);
    const verify = this.#toVerify;
    if (verify && (await routes.ruleset(tableName)) === null) {
      if (this.#applied !== null) log.error('the host’s table was removed by somebody else: made again');
      this.#applied = null;
    }
    if (text !== this.#applied) {
      this.#applied = null;
      await routes.setRuleset(tableName, text);
      this.#applied = text;
    }
    if (!verify) return;
    await acceptInDockerUser(log);
    this.#toVerify = false;
  }

  /**
   * An address of a network of ours without an endpoint (it stopped a moment ago) is nobody's: without this the host's default route
   * would carry what is meant for it to the uplink, where any machine may answer in its name.
   */
  async #applyUnreachable(networks: readonly NatNetwork[]): Promise<void> {
    const { routes } = this.#options;
    const wanted = new Set(networks.map((network) => network.cidr));
    for (const cidr of this.#unreachable.difference(wanted)) {
      await routes.removeUnreachable(cidr);
      this.#unreachable.delete(cidr);
    }
    for (const cidr of this.#toVerify ? wanted : wanted.difference(this.#unreachable)) {
      await routes.setUnreachable(cidr);
      this.#unreachable.add(cidr);
    }
  }

  /** On `lo`, since no interface of the host is the network: each endpoint is alone on its link. */
  async #applyGateways(networks: readonly NatNetwork[]): Promise<void> {
    const { routes } = this.#options;
    const wanted = new Set(networks.map((network) => network.gateway));
    for (const gateway of this.#gateways) {
      if (wanted.has(gateway)) continue;
      await routes.removeAddress('lo', hostNetwork(gateway));
      this.#gateways.delete(gateway);
    }
    // Listing a thousand interfaces for each endpoint that comes would cost more than attaching it.
    if (this.#toVerify || wanted.difference(this.#gateways).size > 0) {
      const present = new Set((await routes.interfaces()).find((found) => found.name === 'lo')?.addresses ?? []);
      for (const gateway of wanted) {
        if (!present.has(hostNetwork(gateway))) await routes.setAddress('lo', hostNetwork(gateway));
        this.#gateways.add(gateway);
      }
    }
    const gateways = [...wanted].sort();
    // Endpoints with IPv6 have the host's link-local address beside them: the host's from the first packet on, not from the next look at
    // its interfaces on.
    const linkLocal = gateways.some((gateway) => gateway.includes(':')) ? [hostLinkLocal] : [];
    this.#options.setHostAddresses('networks', [...gateways, ...linkLocal]);
    await this.#options.onGateways(gateways);
  }

  /** Only where there is a network that needs it: IPv6 forwarding makes a host ignore router advertisements on its own uplinks. */
  async #applyForwarding(networks: readonly NatNetwork[]): Promise<void> {
    const { routes } = this.#options;
    if (networks.some((network) => !network.cidr.includes(':'))) await routes.setSysctl('net/ipv4/ip_forward', '1');
    if (networks.some((network) => network.cidr.includes(':'))) {
      await routes.setSysctl('net/ipv6/conf/all/forwarding', '1').catch((error: unknown) => {
        // A kernel without IPv6 has nothing to forward.
        if (!(error instanceof KernelError) || error.code !== 'ENOENT') throw error;
      });
    }
  }
}

const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const;

/** As the programs look it up: the host's address, or the one that stands for every one of the workload's family. */
function publishedAt({ protocol, hostAddress, hostPort, address }: NatPort): readonly PublishedAt[] {
  const every = address.includes(':') ? '::' : '0.0.0.0';
  const isOtherFamily = hostAddress !== '' && hostAddress.includes(':') !== address.includes(':');
  if (isOtherFamily) return [];
  return [{ protocol: protocolNumbers[protocol], port: hostPort, address: hostAddress === '' ? every : hostAddress }];
}
