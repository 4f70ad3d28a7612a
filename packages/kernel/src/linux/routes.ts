/** Interfaces, addresses, routes, sysctls and nftables of the network namespace that the process runs in. */
import { readFileSync, writeFileSync } from 'node:fs';
import { KernelError, type InterfaceInfo, type Routes } from '../port.ts';
import { runTool, toolError } from './command.ts';
import { IpBatches, lineOf } from './ip.ts';

/** The part of `ip -d -j address show` that is read. */
interface IpInterface {
  readonly ifindex: number;
  readonly ifname: string;
  readonly link?: string | null;
  readonly link_index?: number;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly link_type: string;
  readonly address?: string;
  readonly master?: string;
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number }[];
}

/** Behind every other route of the same network. */
const lastMetric = String(2 ** 32 - 1);

/** Turns the tool's list into ours; names of other interfaces become their numbers. */
export function interfacesOf(listed: readonly IpInterface[]): InterfaceInfo[] {
  const indexes = new Map(listed.map((entry) => [entry.ifname, entry.ifindex]));
  const indexOf = (name: string | null | undefined): number => (name ? (indexes.get(name) ?? 0) : 0);
  return listed
    .filter((entry) => typeof entry.ifindex === 'number')
    .map((entry) => {
      const kind = entry.linkinfo?.info_kind ?? (entry.link_type === 'loopback' ? 'loopback' : 'device');
      return {
        ifindex: entry.ifindex,
        name: entry.ifname,
        kind,
        mac: entry.address ?? '00:00:00:00:00:00',
        up: entry.flags.includes('UP'),
        mtu: entry.mtu,
        addresses: (entry.addr_info ?? []).flatMap(({ local, prefixlen }) =>
          local === undefined ? [] : [`${local}/${prefixlen}`],
        ),
        master: indexOf(entry.master),
        peerIfindex: kind === 'veth' ? (entry.link_index ?? indexOf(entry.link)) : 0,
      };
    });
}

/** Runs the action; an error with one of the codes means that it was already so. */
async function unless(codes: readonly string[], action: Promise<void>): Promise<void> {
  try {
    await action;
  } catch (error) {
    if (!(error instanceof KernelError) || !codes.includes(error.code)) throw error;
  }
}

function tableWords(table: string): string {
  if (!/^(ip|ip6|inet|arp|bridge|netdev) [A-Za-z][\w-]*$/.test(table)) {
    throw new KernelError(`nftables table "${table}"`, 'EINVAL');
  }
  return table;
}

export class LinuxRoutes implements Routes {
  readonly #ip = new IpBatches();

  async interfaces(): Promise<readonly InterfaceInfo[]> {
    return interfacesOf(await this.#list());
  }

  async createVeth(spec: Parameters<Routes['createVeth']>[0]): Promise<InterfaceInfo> {
    const operation = `create veth ${spec.name}`;
    const mtu = String(spec.mtu);
    const peer = ['peer', 'name', spec.peer, 'address', spec.peerMac, 'mtu', mtu];
    await unless(
      ['EEXIST'],
      this.#ip.run('link', 'add', 'name', spec.name, 'address', spec.mac, 'mtu', mtu, 'type', 'veth', ...peer),
    );
    // The link is still down, so it has no link-local address yet. Kernels without IPv6 never make one.
    await unless(['EOPNOTSUPP'], this.#ip.run('link', 'set', 'dev', spec.name, 'addrgenmode', 'none'));
    await Promise.all([
      unless(['ENOENT'], this.setSysctl(`net/ipv6/conf/${spec.name}/accept_ra`, '0')),
      unless(['ENOENT'], this.setSysctl(`net/ipv6/conf/${spec.name}/autoconf`, '0')),
    ]);
    const made = interfacesOf(await this.#listPair(spec.name, spec.peer)).find((entry) => entry.name === spec.name);
    if (made === undefined) throw new KernelError(operation, 'ENODEV', { detail: 'it vanished' });
    if (made.kind !== 'veth' || made.mac !== spec.mac || made.mtu !== spec.mtu) {
      throw new KernelError(operation, 'EEXIST', {
        detail: `another interface has the name: ${made.kind} ${made.mac} mtu ${made.mtu}`,
      });
    }
    return made;
  }

  async deleteInterface(name: string): Promise<void> {
    await unless(['ENODEV'], this.#ip.run('link', 'delete', 'dev', name));
  }
  async setUp(name: string, up: boolean): Promise<void> {
    await this.#ip.run('link', 'set', 'dev', name, up ? 'up' : 'down');
  }
  async setRoute(cidr: string, name: string): Promise<void> {
    await this.#ip.run('route', 'replace', cidr, 'dev', name);
  }
  async removeRoute(cidr: string, name: string): Promise<void> {
    await unless(['ESRCH', 'ENODEV'], this.#ip.run('route', 'delete', cidr, 'dev', name));
  }
  async setUnreachable(cidr: string): Promise<void> {
    await this.#ip.run('route', 'replace', 'unreachable', cidr, 'metric', lastMetric);
  }
  async removeUnreachable(cidr: string): Promise<void> {
    await unless(['ESRCH'], this.#ip.run('route', 'delete', 'unreachable', cidr, 'metric', lastMetric));
  }
  async setAddress(name: string, cidr: string): Promise<void> {
    // Addresses of gateways are ours alone: detection of duplicates would only delay their first use.
    const detection = cidr.includes(':') ? ['nodad'] : [];
    await this.#ip.run('address', 'replace', cidr, 'dev', name, ...detection);
  }
  async removeAddress(name: string, cidr: string): Promise<void> {
    await unless(['EADDRNOTAVAIL', 'ENODEV'], this.#ip.run('address', 'delete', cidr, 'dev', name));
  }

  /**
   * `path` below /proc/sys with slashes, since interface names may have dots. Read back: some values are refused silently.
   * Synchronous: /proc/sys/net shows the namespace of the thread that opens it, and pool threads may be in another.
   */
  async setSysctl(path: string, value: string): Promise<void> {
    const operation = `set sysctl ${path}`;
    if (!/^[\w.@-]+(\/[\w.@-]+)+$/.test(path) || path.split('/').includes('..'))
      throw new KernelError(operation, 'EINVAL');
    try {
      writeFileSync(`/proc/sys/${path}`, value);
      const now = readFileSync(`/proc/sys/${path}`, 'utf8').trim();
      if (now !== value.trim()) throw new KernelError(operation, 'EINVAL', { detail: `it stayed ${now}` });
    } catch (error) {
      if (error instanceof KernelError) throw error;
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'EIO';
      throw new KernelError(operation, code, { cause: error });
    }
  }

  async setRuleset(table: string, text: string): Promise<void> {
    const name = tableWords(table);
    await this.#nft(`replace nftables table ${name}`, `table ${name}\ndelete table ${name}\n${text}\n`);
  }
  async removeRuleset(table: string): Promise<void> {
    const name = tableWords(table);
    await this.#nft(`remove nftables table ${name}`, `table ${name}\ndelete table ${name}\n`);
  }
  async ruleset(table: string): Promise<string | null> {
    const name = tableWords(table);
    const finished = await runTool('nft', ['list', 'table', ...name.split(' ')]);
    if (!finished.failed) return finished.output;
    const error = toolError(`list nftables table ${name}`, finished.complaint);
    if (error.code === 'ENOENT') return null;
    throw error;
  }

  async #nft(operation: string, text: string): Promise<void> {
    const finished = await runTool('nft', ['-f', '-'], text);
    if (finished.failed) throw toolError(operation, finished.complaint);
  }

  /** Both ends only: listing all interfaces of a large host takes longer than making one. A peer that moved away is left out. */
  async #listPair(name: string, peer: string): Promise<readonly IpInterface[]> {
    const lines = [name, peer].map((device) => lineOf(['address', 'show', 'dev', device]));
    const finished = await runTool('ip', ['-force', '-d', '-j', '-batch', '-'], `${lines.join('\n')}\n`);
    return finished.output
      .split('\n')
      .filter((line) => line.startsWith('['))
      .flatMap((line) => JSON.parse(line) as IpInterface[]);
  }

  async #list(): Promise<readonly IpInterface[]> {
    const finished = await runTool('ip', ['-d', '-j', 'address', 'show']);
    if (finished.failed) throw toolError('list interfaces', finished.complaint);
    return JSON.parse(finished.output === '' ? '[]' : finished.output) as IpInterface[];
  }
}
