/**
 * The host's nftables as text: one table of ours, beside whatever else the host has. Pure.
 *
 * It fails closed: the eBPF programs judge every packet of an endpoint, and this table drops what reached the host's stack without having
 * been judged (no mark), so that a detached program opens nothing. It also holds the address translation for what leaves the host and
 * for published ports. Its `accept` ends only its own chain: another table may still drop.
 */
import { contains, parseAddress, parseNetwork } from '../attach/network-address.ts';

/** Host-side interfaces that we make for endpoints begin with this; nothing else on a host should. */
export const endpointPrefix = 'bhw';
export const tableName = 'inet bulkhead';

/** Bits of the packet mark that the programs set: `enum mark` of the headers in bpf/ (a test compares). */
export const marks = { mask: 0x3000, workload: 0x2000 } as const;

export interface NatNetwork {
  readonly cidr: string;
  readonly gateway: string;
  readonly masquerade: boolean;
  /** No way out of the host. */
  readonly internal: boolean;
}

export interface NatPort {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** '' stands for every address of the host, of both families; `0.0.0.0` and `::` for every one of theirs. */
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly address: string;
  readonly port: number;
}

export interface HostTables {
  readonly networks: readonly NatNetwork[];
  readonly published: readonly NatPort[];
  /** Host-side interfaces of endpoints that have other names: taps and adopted ones that are routed. */
  readonly interfaces: readonly string[];
}

/** The whole table for `nft -f`. Throws for a value that is not what its type says: nothing unchecked gets into the text. */
export function hostRuleset(tables: HostTables): string {
  for (const name of tables.interfaces)
    if (!/^[\w.@-]{1,15}$/.test(name)) throw new Error(`interface name ${JSON.stringify(name)}`);
  const names = [`"${endpointPrefix}*"`, ...oneMatch(tables.interfaces)];
  return `table ${tableName} {
${chain('unjudged_input', 'filter', 'input', 'filter - 10', inputRules(names))}
${chain('unjudged_forward', 'filter', 'forward', 'filter - 10', forwardRules(tables, names))}
${chain('forged', 'filter', 'prerouting', 'raw', [...names.flatMap(loopbackRules), ...forgedRules(tables, names)])}
${chain('published', 'nat', 'prerouting', 'dstnat - 10', publishedRules(tables.published, false))}
${chain('published_local', 'nat', 'output', '-110', publishedRules(tables.published, true))}
${chain('outbound', 'nat', 'postrouting', 'srcnat - 10', outboundRules(tables, names))}
}
`;
}

/** However many names: one match. A rule has room for about sixty, and each would cost every packet. */
function oneMatch(interfaces: readonly string[]): readonly string[] {
  const quoted = interfaces.map((name) => `"${name}"`);
  return quoted.length < 2 ? quoted : [`{ ${quoted.join(', ')} }`];
}

function chain(name: string, type: 'filter' | 'nat', hook: string, priority: string, rules: readonly string[]): string {
  const lines = [`type ${type} hook ${hook} priority ${priority}; policy accept;`, ...rules];
  return `  chain ${name} {\n${lines.map((line) => `    ${line}\n`).join('')}  }`;
}

const hex = (value: number): string => `0x${value.toString(16)}`;

/** Endpoint to host. The neighbour discovery that the programs let through was checked by them, and carries no mark. */
function inputRules(names: readonly string[]): readonly string[] {
  const unmarked = `meta mark & ${hex(marks.mask)} == 0`;
  return names.flatMap((name) => [
    `iifname ${name} ${unmarked} icmpv6 type != { nd-neighbor-solicit, nd-neighbor-advert } counter drop`,
    `iifname ${name} ${unmarked} meta l4proto != ipv6-icmp counter drop`,
  ]);
}

function forwardRules(tables: HostTables, names: readonly string[]): readonly string[] {
  const rules = names.map((name) => `iifname ${name} meta mark & ${hex(marks.mask)} == 0 counter drop`);
  for (const network of tables.networks.filter(({ internal }) => internal)) {
    const { word } = familyOf(network.cidr);
    // An endpoint of ours is the only way on.
    for (const name of names)
      rules.push(
        `iifname ${name} ${word} saddr ${network.cidr} ${names.map((other) => `oifname != ${other}`).join(' ')} counter drop`,
      );
  }
  for (const name of names) {
    rules.push(
      `oifname ${name} meta mark & ${hex(marks.mask)} == ${hex(marks.workload)} accept`,
      `oifname ${name} ct state established,related accept`,
      `oifname ${name} ct status dnat accept`,
      `oifname ${name} counter drop`,
    );
  }
  return rules;
}

/**
 * Whoever comes with an address of a network of ours by another way than from an endpoint is not of that network. Addresses of endpoints
 * are the programs' affair at the uplinks; the others have no route but the one that says so (see HostNetwork), unless the host has
 * a network of the same addresses elsewhere.
 */
function forgedRules({ networks }: HostTables, names: readonly string[]): readonly string[] {
  const elsewhere = ['"lo"', ...names].map((name) => `iifname != ${name}`).join(' ');
  return networks.map(
    ({ cidr }) => `${familyOf(cidr).word} saddr ${cidr} ${elsewhere} fib saddr oif missing counter drop`,
  );
}

/** route_localnet is on for endpoints, so that ports published on 127.0.0.1 work: no workload may use it to reach the host's own loopback. */
function loopbackRules(name: string): readonly string[] {
  return [`iifname ${name} ip daddr 127.0.0.0/8 counter drop`, `iifname ${name} ip saddr 127.0.0.0/8 counter drop`];
}

/** Maps instead of rules: the cost of a packet does not grow with the number of published ports. */
function publishedRules(published: readonly NatPort[], local: boolean): readonly string[] {
  const rules: string[] = [];
  for (const family of [4, 6] as const) {
    const word = family === 4 ? 'ip' : 'ip6';
    const wide: string[] = [];
    const narrow: string[] = [];
    for (const port of published) {
      const target = familyOf(port.address);
      const host = port.hostAddress === '' ? null : familyOf(port.hostAddress);
      if (target.family !== family || (host !== null && host.family !== family)) continue;
      // Loopback is the host's own: a packet from outside with such a destination is forged.
      if (!local && isLoopback(port.hostAddress)) continue;
      const value = `${port.address} . ${portNumber(port.port)}`;
      if (isEvery(port.hostAddress)) wide.push(`${port.protocol} . ${portNumber(port.hostPort)} : ${value}`);
      else narrow.push(`${port.hostAddress} . ${port.protocol} . ${portNumber(port.hostPort)} : ${value}`);
    }
    // The narrower one wins where a container has the port on one address and another on all the others.
    if (narrow.length > 0)
      rules.push(`dnat ${word} to ${word} daddr . meta l4proto . th dport map { ${narrow.join(', ')} }`);
    if (wide.length > 0)
      rules.push(`fib daddr type local dnat ${word} to meta l4proto . th dport map { ${wide.join(', ')} }`);
  }
  return rules;
}

function outboundRules(tables: HostTables, names: readonly string[]): readonly string[] {
  const rules: string[] = [];
  for (const network of tables.networks) {
    const { word, family } = familyOf(network.cidr);
    const gateway = familyOf(network.gateway);
    if (gateway.family !== family) throw new Error(`gateway ${network.gateway} is not of ${network.cidr}`);
    // The host's own connections to a port published on 127.0.0.1.
    if (family === 4) rules.push(`ip saddr 127.0.0.0/8 ip daddr ${network.cidr} snat ip to ${network.gateway}`);
    if (network.masquerade && !network.internal) {
      rules.push(`${word} saddr ${network.cidr} ${names.map((name) => `oifname != ${name}`).join(' ')} masquerade`);
    }
  }
  return rules;
}

function familyOf(text: string): { readonly family: 4 | 6; readonly word: 'ip' | 'ip6' } {
  const family = text.includes('/') ? parseNetwork(text)?.family : parseAddress(text)?.family;
  if (family === undefined) throw new Error(`${JSON.stringify(text)} is neither an address nor a network`);
  return { family, word: family === 4 ? 'ip' : 'ip6' };
}

function portNumber(port: number): number {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error(`port ${port}`);
  return port;
}

const isEvery = (hostAddress: string): boolean => ['', '0.0.0.0', '::'].includes(hostAddress);

const loopbackNetworks = [parseNetwork('127.0.0.0/8')!, parseNetwork('::1/128')!];
function isLoopback(text: string): boolean {
  const address = parseAddress(text);
  return address !== null && loopbackNetworks.some((network) => contains(network, address));
}
