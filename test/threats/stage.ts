/**
 * The ground of the threat tests: a host with a machine beside it on the LAN, a manager that listens on every address of the host (worse
 * than its default), the real agent, and three workloads under one policy.
 */
import type { EndpointView } from '../kernel/agent/endpoint-view.ts';
import { GovernedHost } from '../kernel/agent/governed-host.ts';
import type { FrameSocket } from '../kernel/datapath/sockets.ts';
import type { Ends } from '../kernel/datapath/frames.ts';
import { makeAgentKeys, type AgentCredentials } from '../../packages/manager/src/testing/agent-client.ts';
import { rawLink } from './raw-link.ts';

export const linkPort = 7443;
export const apiPort = 7444;
/** Of workloads that are attached by command. */
export const gateway = '10.224.0.1';
export const gatewayIpv6 = 'fd62:6866::1';
export const openPort = 5432;
export const closedPort = 5433;
export const askedPorts = { from: 9000, to: 9999 } as const;

/** mallory and alice may do the same; mallory is the one who was breached. vault is what both may reach on one port only. */
export const workloads = { mallory: 'web', alice: 'web', vault: 'database' } as const;

export function segment(name: string, app = name, rest: Readonly<Record<string, unknown>> = {}): unknown {
  const spec = { selector: { matchLabels: { app } }, ...rest };
  return { apiVersion: 'bulkhead.dev/v1', kind: 'Segment', metadata: { name }, spec };
}

export function policy(name: string, ...rules: readonly unknown[]): unknown {
  return { apiVersion: 'bulkhead.dev/v1', kind: 'Policy', metadata: { name }, spec: { tier: 'application', rules } };
}

const ends = { from: { segment: 'web' }, to: { segment: 'database' } };
const documents = [
  segment('web'),
  segment('database'),
  policy(
    'floor',
    { name: 'open', action: 'allow', ...ends, ports: [{ protocol: 'tcp', port: openPort }] },
    {
      name: 'asked',
      action: 'ask',
      ...ends,
      ports: [{ protocol: 'tcp', port: askedPorts.from, endPort: askedPorts.to }],
      when: 'source.name == "alice"',
    },
  ),
];

export class Stage implements AsyncDisposable {
  readonly host: GovernedHost;
  readonly endpoints: ReadonlyMap<string, EndpointView>;
  readonly links: ReadonlyMap<string, FrameSocket>;

  private constructor(
    host: GovernedHost,
    endpoints: ReadonlyMap<string, EndpointView>,
    links: ReadonlyMap<string, FrameSocket>,
  ) {
    this.host = host;
    this.endpoints = endpoints;
    this.links = links;
  }

  static async open(): Promise<Stage> {
    const host = await GovernedHost.start({
      prefix: 'bhT',
      uplink: true,
      managerOptions: ['--link', `0.0.0.0:${linkPort}`, '--api', `0.0.0.0:${apiPort}`],
    });
    try {
      let number = 2;
      for (const [name, app] of Object.entries(workloads)) {
        await host.attach(name, { app }, { ipv4: `10.224.0.${number}`, ipv6: `fd62:6866::${number}` });
        number += 1;
      }
      await host.listen('vault', openPort, closedPort, askedPorts.from, askedPorts.to);
      await host.apply(...documents);
      await host.until('all are governed', async () =>
        (await host.endpoints()).every(({ state }) => state === 'governed'),
      );
      const endpoints = new Map((await host.endpoints()).map((endpoint) => [endpoint.name!, endpoint]));
      const links = new Map([...endpoints.keys(), 'lan'].map((name) => [name, rawLink(host.pathOf(name))]));
      return new Stage(host, endpoints, links);
    } catch (error) {
      await host[Symbol.asyncDispose]();
      throw error;
    }
  }

  endpoint(name: string): EndpointView {
    return this.endpoints.get(name)!;
  }

  link(name: string): FrameSocket {
    return this.links.get(name)!;
  }

  address(name: string, version: 4 | 6 = 4): string {
    const { ipv4, ipv6 } = this.endpoint(name);
    return (version === 4 ? ipv4 : ipv6)!;
  }

  /** An honest packet's ends, from one workload through the gateway to another, or to any address. */
  between(from: string, to: string, version: 4 | 6 = 4): Ends {
    const destination = this.endpoints.has(to) ? this.address(to, version) : to;
    const { mac, gatewayMac } = this.endpoint(from);
    const source = this.address(from, destination.includes(':') ? 6 : 4);
    return { sourceMac: mac, destinationMac: gatewayMac, source, destination };
  }

  /** A host's certificate, as its agent gets one: of a token that an administrator made. */
  async enrol(host: string, token: Readonly<Record<string, unknown>> = {}): Promise<Required<AgentCredentials>> {
    const created = (await this.host.api('POST', '/v1/enrolment-tokens', { host, ...token })) as {
      readonly token: string;
    };
    const [, id, secret] = created.token.split('.');
    const { keyPem, request } = await makeAgentKeys(host);
    const answer = (await this.host.api('POST', '/v1/enrol', { host, token: { id, secret }, request })) as {
      readonly certificate: string;
      readonly authorities: string;
    };
    return { keyPem, certificatePem: answer.certificate, authorityPem: answer.authorities };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const link of this.links.values()) link[Symbol.dispose]();
    await this.host[Symbol.asyncDispose]();
  }
}
