/**
 * The host's input chain as text, while the host is a subject of policy. Pure.
 *
 * The programs at uplinks and workloads mark what they have judged for the host itself. Whatever else the host's stack takes for its own
 * is dropped here: packets that were left to NAT and that NAT did not know, and everything while a program is detached. The guard is
 * repeated, so that whoever mends the host gets in. Its `accept` ends only its own chain: another table may still drop.
 */
import type { GuardPorts } from './guard.ts';

export const hostTableName = 'inet bulkhead_host';

/** Bits of the packet mark that the programs set: `enum mark` in bpf/limits.h (a test compares). */
export const hostMark = 0x40;

/** Interfaces inside the machine that are no affair of the host's end, by the beginnings of their names: also those that appear later. */
const insidePrefixes = ['docker', 'br-', 'veth', 'virbr', 'vnet', 'cni', 'podman', 'flannel', 'tap', 'dummy'];

export interface InputTable {
  readonly guard: GuardPorts;
  readonly uplinks: readonly string[];
  /** Known interfaces that are neither uplinks nor of workloads. */
  readonly inside: readonly string[];
}

/** The table for `nft -f`. Throws for an interface name that is none. */
export function inputTable({ guard, uplinks, inside }: InputTable): string {
  for (const name of [...uplinks, ...inside])
    if (!/^[\w.@:-]{1,15}$/.test(name)) throw new Error(`interface name ${JSON.stringify(name)}`);
  const mark = `0x${hostMark.toString(16)}`;
  const unmarked = uplinks.map((name) => `iifname "${name}" jump guarded`);
  const accepted = [...insidePrefixes.map((prefix) => `${prefix}*`), ...inside].map(
    (name) => `iifname "${name}" accept`,
  );
  const ports = (list: readonly number[]): string => `{ ${list.join(', ')} }`;
  const guarded = [
    'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept',
    'udp dport { 68, 546 } accept',
    ...(guard.ingress.length === 0 ? [] : [`tcp dport ${ports(guard.ingress)} accept`]),
    ...(guard.egress.length === 0 ? [] : [`tcp sport ${ports(guard.egress)} ct state established accept`]),
    'counter drop',
  ];
  const input = [
    'type filter hook input priority filter - 11; policy accept;',
    `meta mark & ${mark} == ${mark} accept`,
    'iifname "lo" accept',
    // Connection tracking also puts fragments together before this chain, which then sees the mark of the first.
    'ct state invalid continue',
    ...unmarked,
    ...accepted,
    'jump guarded',
  ];
  const chain = (name: string, lines: readonly string[]): string =>
    `  chain ${name} {\n${lines.map((line) => `    ${line}\n`).join('')}  }`;
  return `table ${hostTableName} {\n${chain('guarded', guarded)}\n${chain('input', input)}\n}\n`;
}
