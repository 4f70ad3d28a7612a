/** Interfaces, routes and rulesets of a simulated machine. Interfaces can vanish at any time, as a container's do. */
import { canonicalAddress, cidrText, parseCidr } from '../address.ts';
import { KernelError, type InterfaceInfo, type Routes } from '../port.ts';
import type { Failures } from './failures.ts';
import type { Network, Pinned, SimulatedInterface } from './state.ts';

/** Adds an interface with the next number. */
export function addInterface(
  network: Network,
  spec: Omit<InterfaceInfo, 'ifindex' | 'addresses' | 'up' | 'master'>,
): SimulatedInterface {
  const made: SimulatedInterface = {
    ...spec,
    ifindex: network.nextIfindex++,
    up: false,
    master: 0,
    addresses: [],
    routes: new Set(),
  };
  network.interfaces.set(made.name, made);
  return made;
}

/** Deletes an interface with its peer; the links on it are gone with it. */
export function dropInterface(network: Network, pinned: Pinned | null, name: string): void {
  const found = network.interfaces.get(name);
  if (found === undefined) return;
  for (const gone of [found, ...network.interfaces.values().filter((entry) => entry.peerIfindex === found.ifindex)]) {
    network.interfaces.delete(gone.name);
    pinned?.links.delete(gone.ifindex);
  }
}

function infoOf(entry: SimulatedInterface): InterfaceInfo {
  const { routes: _, ...info } = entry;
  return info;
}

export class SimulatedRoutes implements Routes {
  readonly #network: Network;
  /** Throws once the agent is dead. */
  readonly #pinned: (operation: string) => Pinned | null;
  readonly #failures: Failures;

  constructor(network: Network, pinned: (operation: string) => Pinned | null, failures: Failures) {
    this.#network = network;
    this.#pinned = pinned;
    this.#failures = failures;
  }

  async interfaces(): Promise<readonly InterfaceInfo[]> {
    this.#begin('list interfaces');
    return [...this.#network.interfaces.values()].map(infoOf);
  }

  async createVeth(spec: Parameters<Routes['createVeth']>[0]): Promise<InterfaceInfo> {
    const operation = `create veth ${spec.name}`;
    this.#begin(operation);
    const existing = this.#network.interfaces.get(spec.name);
    if (existing !== undefined) {
      if (existing.kind === 'veth' && existing.mac === spec.mac && existing.mtu === spec.mtu) return infoOf(existing);
      throw new KernelError(operation, 'EEXIST');
    }
    if (this.#network.interfaces.has(spec.peer)) throw new KernelError(operation, 'EEXIST', { detail: spec.peer });
    const peer = addInterface(this.#network, {
      name: spec.peer,
      kind: 'veth',
      mac: spec.peerMac,
      mtu: spec.mtu,
      peerIfindex: 0,
    });
    const made = addInterface(this.#network, {
      name: spec.name,
      kind: 'veth',
      mac: spec.mac,
      mtu: spec.mtu,
      peerIfindex: peer.ifindex,
    });
    this.#network.interfaces.set(peer.name, { ...peer, peerIfindex: made.ifindex });
    return infoOf(made);
  }

  async deleteInterface(name: string): Promise<void> {
    const operation = `delete interface ${name}`;
    this.#begin(operation);
    dropInterface(this.#network, this.#pinned(operation), name);
  }
  async setUp(name: string, up: boolean): Promise<void> {
    this.#change(`set ${name} ${up ? 'up' : 'down'}`, name, (entry) => ({
      ...entry,
      up,
      routes: up ? entry.routes : new Set(),
    }));
  }
  async setRoute(cidr: string, name: string): Promise<void> {
    const text = cidrText(parseCidr(cidr));
    this.#change(`set route ${text}`, name, (entry) => {
      if (!entry.up) throw new KernelError(`set route ${text}`, 'ENETDOWN');
      return { ...entry, routes: new Set([...entry.routes, text]) };
    });
  }
  async removeRoute(cidr: string, name: string): Promise<void> {
    const text = cidrText(parseCidr(cidr));
    this.#begin(`remove route ${text}`);
    const entry = this.#network.interfaces.get(name);
    if (entry === undefined) return;
    this.#network.interfaces.set(name, {
      ...entry,
      routes: new Set([...entry.routes].filter((route) => route !== text)),
    });
  }
  async setUnreachable(cidr: string): Promise<void> {
    const text = cidrText(parseCidr(cidr));
    this.#begin(`set unreachable ${text}`);
    this.#network.unreachable.add(text);
  }
  async removeUnreachable(cidr: string): Promise<void> {
    const text = cidrText(parseCidr(cidr));
    this.#begin(`remove unreachable ${text}`);
    this.#network.unreachable.delete(text);
  }
  async setAddress(name: string, cidr: string): Promise<void> {
    const text = addressWithPrefix(cidr);
    this.#change(`set address ${text}`, name, (entry) => ({
      ...entry,
      addresses: [...new Set([...entry.addresses, text])],
    }));
  }
  async removeAddress(name: string, cidr: string): Promise<void> {
    const text = addressWithPrefix(cidr);
    this.#begin(`remove address ${text}`);
    const entry = this.#network.interfaces.get(name);
    if (entry === undefined) return;
    this.#network.interfaces.set(name, { ...entry, addresses: entry.addresses.filter((address) => address !== text) });
  }

  async setSysctl(path: string, value: string): Promise<void> {
    const operation = `set sysctl ${path}`;
    this.#begin(operation);
    if (!/^[\w.@-]+(\/[\w.@-]+)+$/.test(path) || path.split('/').includes('..'))
      throw new KernelError(operation, 'EINVAL');
    this.#network.sysctls.set(path, value);
  }

  async setRuleset(table: string, text: string): Promise<void> {
    this.#begin(`replace nftables table ${table}`);
    if (!text.includes(`table ${table}`)) throw new KernelError(`replace nftables table ${table}`, 'EINVAL');
    this.#network.rulesets.set(table, text);
  }
  async removeRuleset(table: string): Promise<void> {
    this.#begin(`remove nftables table ${table}`);
    this.#network.rulesets.delete(table);
  }
  async ruleset(table: string): Promise<string | null> {
    this.#begin(`list nftables table ${table}`);
    return this.#network.rulesets.get(table) ?? null;
  }

  #begin(operation: string): void {
    const pinned = this.#pinned(operation);
    const veths = [...this.#network.interfaces.values()].filter((entry) => entry.kind === 'veth');
    const gone = this.#failures.vanishing(veths.length);
    if (gone !== null) dropInterface(this.#network, pinned, veths[gone]!.name);
    this.#failures.meet('routes', operation);
  }

  #change(operation: string, name: string, change: (entry: SimulatedInterface) => SimulatedInterface): void {
    this.#begin(operation);
    const entry = this.#network.interfaces.get(name);
    if (entry === undefined) throw new KernelError(operation, 'ENODEV');
    this.#network.interfaces.set(name, change(entry));
  }
}

/** `address/bits` of an interface: host bits stay. */
function addressWithPrefix(cidr: string): string {
  const slash = cidr.lastIndexOf('/');
  if (slash < 1) throw new KernelError(`read address ${cidr}`, 'EINVAL');
  return `${canonicalAddress(cidr.slice(0, slash))}${cidr.slice(slash)}`;
}
