/** The network beside a host: one other machine on a link of its own. */
import { execFileSync } from 'node:child_process';

export const uplinkAddress = '198.51.100.1';
export const lanAddress = '198.51.100.2';

/** Joins two namespaces: `up0` of the host, which is its default route, and `eth0` of the other machine. */
export function connectLan(host: string, other: string): void {
  for (const line of [
    `-n ${host} link add up0 type veth peer name eth0 netns ${other}`,
    `-n ${host} address add ${uplinkAddress}/24 dev up0`,
    `-n ${host} link set up0 up`,
    `-n ${other} address add ${lanAddress}/24 dev eth0`,
    `-n ${other} link set eth0 up`,
    `-n ${host} route add default via ${lanAddress}`,
  ])
    execFileSync('ip', line.split(' '));
}
