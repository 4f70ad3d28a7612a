/** A host with an uplink to a LAN, forwarding, and the NAT of a container host: the surroundings of tests about outside. */
import { Machine, type Workload } from './machine.ts';
import type { Ends } from './frames.ts';
import { FrameSocket, run } from './sockets.ts';

const uplinkMac = '02:00:00:00:02:01';
const lanMac = '02:00:00:00:02:02';
export const hostAddress = '192.0.2.1';
/** Somebody beyond the LAN. */
export const stranger = '198.51.100.9';

/** Port 8080 of the host is published by the first workload's port 80. */
const ruleset = `
table inet bha {
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "bhA-*" meta mark and 0x3000 == 0x2000 accept
    iifname "bhA-*" drop
    oifname "bhA-*" ct state established,related accept
    oifname "bhA-*" ct status dnat accept
  }
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr ${hostAddress} tcp dport 8080 dnat ip to 10.0.0.1:80
    fib daddr type local dnat ip to meta l4proto . th dport map { sctp . 8080 : 10.0.0.1 . 80 }
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "up0" ip saddr 10.0.0.0/24 masquerade
  }
}`;

export interface Surroundings {
  readonly machine: Machine;
  readonly a: Workload;
  readonly b: Workload;
  readonly lan: FrameSocket;
  /** Index of the uplink's interface. */
  readonly uplink: number;
}

/** Two workloads on a host with a LAN; the machine is to be disposed by the caller. */
export async function openWithLan(): Promise<Surroundings> {
  const machine = Machine.open();
  const a = await machine.addWorkload('a');
  const b = await machine.addWorkload('b');
  const made = await machine.kernel.routes.createVeth({
    name: 'up0',
    peer: 'eth0',
    mac: uplinkMac,
    peerMac: lanMac,
    mtu: 1500,
  });
  const namespace = machine.namespaces.make('lan');
  run('ip', 'link', 'set', 'dev', 'eth0', 'netns', namespace);
  const lan = machine.namespaces.inside(namespace, machine.home, () => {
    run('ip', 'link', 'set', 'dev', 'eth0', 'up', 'arp', 'off');
    return new FrameSocket('eth0');
  });
  run('ip', 'link', 'set', 'dev', 'up0', 'up', 'arp', 'off');
  run('ip', 'address', 'add', `${hostAddress}/24`, 'dev', 'up0');
  run('ip', 'neighbour', 'replace', '192.0.2.2', 'lladdr', lanMac, 'dev', 'up0', 'nud', 'permanent');
  run('ip', 'route', 'add', 'default', 'via', '192.0.2.2');
  run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0');
  for (const workload of [a, b]) {
    run('sysctl', '-qw', `net.ipv4.conf.${workload.hostName}.rp_filter=0`);
    run('ip', 'route', 'add', `${workload.ipv4}/32`, 'dev', workload.hostName);
    run(
      'ip',
      'neighbour',
      'replace',
      workload.ipv4,
      'lladdr',
      workload.mac,
      'dev',
      workload.hostName,
      'nud',
      'permanent',
    );
  }
  run('sh', '-c', `nft -f - <<'END'\n${ruleset}\nEND`);
  machine.kernel.maps.setAddress(hostAddress, { kind: 'host' });
  return { machine, a, b, lan, uplink: made.ifindex };
}

/** From the LAN to the host, as from a stranger unless said otherwise. */
export function inbound(source = stranger, destination = hostAddress): Ends {
  return { sourceMac: lanMac, destinationMac: uplinkMac, source, destination };
}
