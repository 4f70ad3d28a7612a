/** The host's own way out: interfaces on which nobody may come with an address of a workload. */
import type { InterfaceInfo, Kernel } from '@bulkhead/kernel';

/** Kinds that are inside the machine: traffic of workloads that are being adopted comes through bridges. */
const insideKinds = new Set(['bridge', 'dummy', 'loopback', 'tun', 'tap', 'ipvlan', 'macvlan']);
/** Without Ethernet headers the programs cannot read what passes. */
const bareKinds = new Set(['wireguard', 'ipip', 'sit', 'gre', 'ip6tnl', 'ip6gre', 'vti', 'vti6', 'ppp', 'xfrm']);

/**
 * Interfaces with an address that others can reach, but for those of workloads and those inside the machine. `names` says which instead.
 */
export function uplinksAmong(
  interfaces: readonly InterfaceInfo[],
  workloads: ReadonlySet<number>,
  names: readonly string[] | null,
): readonly number[] {
  const isUplink = ({ name, ifindex, kind, addresses }: InterfaceInfo): boolean => {
    if (names !== null) return names.includes(name);
    if (name === 'lo' || workloads.has(ifindex) || insideKinds.has(kind) || bareKinds.has(kind)) return false;
    return addresses.some((address) => !address.startsWith('fe80:') && !address.startsWith('169.254.'));
  };
  return interfaces.filter(isUplink).map(({ ifindex }) => ifindex);
}

/** Attaches where it is missing, and takes away where the interface is no uplink any more. */
export function guardUplinks(kernel: Kernel, uplinks: readonly number[]): void {
  const guarded = new Set(kernel.links.attached('uplink').map(({ ifindex }) => ifindex));
  for (const ifindex of uplinks) if (!guarded.has(ifindex)) kernel.links.attach(ifindex, 'uplink');
  for (const ifindex of guarded) if (!uplinks.includes(ifindex)) kernel.links.detach(ifindex, 'uplink');
}
