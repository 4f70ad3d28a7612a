/**
 * Two workloads and the host between them, as three network namespaces, and the peers that stand in the middle. Every namespace has the
 * prefix `bhbench-` and is removed at the end; addresses are the same in each, so that the same clients serve all of them.
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { iptablesRules, nftablesRules } from './rules.ts';

export const addressA = '10.9.0.2';
export const addressB = '10.9.0.3';
export const macA = '02:00:00:00:00:02';
export const macB = '02:00:00:00:00:03';
export const gatewayMacA = '02:00:00:00:01:02';
export const gatewayMacB = '02:00:00:00:01:03';
export const gateway = '169.254.1.1';

export interface Topology extends AsyncDisposable {
  readonly name: string;
  readonly host: string;
  readonly a: string;
  readonly b: string;
}

const run = promisify(execFile);
/** How long Open vSwitch's database may take to listen. */
const databaseAttempts = 100;
const databaseWaitMs = 50;

/** Runs a program in one of the namespaces. `nsenter` and not `ip netns exec`: the latter hides bpffs. */
export async function inNamespace(namespace: string, command: readonly string[], input?: string): Promise<string> {
  const promise = run('nsenter', [`--net=/run/netns/${namespace}`, ...command], { maxBuffer: 64 * 1024 * 1024 });
  if (input !== undefined) promise.child.stdin?.end(input);
  return (await promise).stdout;
}

/** Namespaces and veths, routed or over a bridge; nothing filters yet. */
export async function createTopology(name: string, mode: 'bridge' | 'routed' | 'bare'): Promise<Topology> {
  const topology = { name, host: `bhbench-${name}-h`, a: `bhbench-${name}-a`, b: `bhbench-${name}-b` };
  const remove = async (): Promise<void> => {
    for (const namespace of [topology.a, topology.b, topology.host])
      await run('ip', ['netns', 'del', namespace]).catch(() => undefined);
  };
  await remove();
  try {
    for (const namespace of [topology.host, topology.a, topology.b]) {
      await run('ip', ['netns', 'add', namespace]);
      await inNamespace(namespace, [
        'sysctl',
        '-qw',
        'net.ipv6.conf.all.disable_ipv6=1',
        'net.ipv6.conf.default.disable_ipv6=1',
      ]);
      await inNamespace(namespace, ['ip', 'link', 'set', 'lo', 'up']);
    }
    await createEnd(
      topology.host,
      topology.a,
      { side: 'a', address: addressA, mac: macA, gatewayMac: gatewayMacA },
      mode,
    );
    await createEnd(
      topology.host,
      topology.b,
      { side: 'b', address: addressB, mac: macB, gatewayMac: gatewayMacB },
      mode,
    );
    if (mode === 'bridge') await createBridge(topology.host);
    if (mode === 'routed') await inNamespace(topology.host, ['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  } catch (error) {
    await remove();
    throw error;
  }
  return { ...topology, [Symbol.asyncDispose]: remove };
}

interface End {
  readonly side: 'a' | 'b';
  readonly address: string;
  readonly mac: string;
  readonly gatewayMac: string;
}

async function createEnd(host: string, namespace: string, end: End, mode: 'bridge' | 'routed' | 'bare'): Promise<void> {
  const veth = `v${end.side}`;
  await run('ip', [
    'link',
    'add',
    veth,
    'netns',
    host,
    'address',
    end.gatewayMac,
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    namespace,
    'address',
    end.mac,
  ]);
  await inNamespace(host, ['ip', 'link', 'set', veth, 'up']);
  await inNamespace(namespace, ['ip', 'link', 'set', 'eth0', 'up']);
  await inNamespace(namespace, ['sysctl', '-qw', 'net.ipv4.ip_local_port_range=1024 65000', 'net.ipv4.tcp_tw_reuse=1']);
  if (mode !== 'routed') {
    await inNamespace(namespace, ['ip', 'addr', 'add', `${end.address}/24`, 'dev', 'eth0']);
    return;
  }
  await inNamespace(namespace, ['ip', 'addr', 'add', `${end.address}/32`, 'dev', 'eth0']);
  await inNamespace(namespace, ['ip', 'route', 'add', gateway, 'dev', 'eth0']);
  await inNamespace(namespace, ['ip', 'route', 'add', 'default', 'via', gateway, 'dev', 'eth0', 'onlink']);
  if (end.side === 'a') await inNamespace(host, ['ip', 'addr', 'add', `${gateway}/32`, 'dev', 'lo']);
  await inNamespace(host, ['ip', 'route', 'add', `${end.address}/32`, 'dev', veth]);
  await inNamespace(host, [
    'sysctl',
    '-qw',
    `net.ipv4.conf.${veth}.proxy_arp=1`,
    `net.ipv4.neigh.${veth}.proxy_delay=0`,
  ]);
}

async function createBridge(host: string): Promise<void> {
  await inNamespace(host, ['ip', 'link', 'add', 'br0', 'type', 'bridge']);
  await inNamespace(host, ['ip', 'link', 'set', 'br0', 'up']);
  for (const veth of ['va', 'vb']) await inNamespace(host, ['ip', 'link', 'set', veth, 'master', 'br0']);
  await inNamespace(host, ['sysctl', '-qw', 'net.bridge.bridge-nf-call-iptables=0']).catch(() => undefined);
}

/** Peers without any firewall, and with what people use. Each resolves to a topology, or to a reason why it cannot be had here. */
export const peers: Readonly<Record<string, () => Promise<Topology | string>>> = {
  bridge: () => createTopology('bridge', 'bridge'),
  routed: () => createTopology('routed', 'routed'),
  iptables1k: async () => {
    const topology = await createTopology('ipt1k', 'bridge');
    try {
      await inNamespace(topology.host, ['sysctl', '-qw', 'net.bridge.bridge-nf-call-iptables=1']);
    } catch {
      await topology[Symbol.asyncDispose]();
      return 'br_netfilter is not loaded: modprobe br_netfilter';
    }
    await inNamespace(topology.host, ['iptables-nft-restore'], iptablesRules(1_000, addressA, addressB));
    return topology;
  },
  iptables10k: async () => {
    const topology = await createTopology('ipt10k', 'routed');
    await inNamespace(topology.host, ['iptables-nft-restore'], iptablesRules(10_000, addressA, addressB));
    return topology;
  },
  nft100k: async () => {
    const topology = await createTopology('nft100k', 'routed');
    await inNamespace(topology.host, ['nft', '-f', '-'], nftablesRules(100_000, addressA, addressB));
    return topology;
  },
  ovs: openVswitch,
};

/** Open vSwitch in user space (netdev datapath) with its connection tracker, started privately in the host namespace. */
async function openVswitch(): Promise<Topology | string> {
  if (!existsSync('/usr/sbin/ovs-vswitchd')) return 'openvswitch-switch is not installed';
  const topology = await createTopology('ovs', 'bare');
  const home = await mkdtemp(path.join(tmpdir(), 'bulkhead-bench-ovs-'));
  const database = path.join(home, 'conf.db');
  const socket = `unix:${path.join(home, 'db.sock')}`;
  const environment = { ...process.env, OVS_RUNDIR: home, OVS_LOGDIR: home, OVS_DBDIR: home };
  await run('ovsdb-tool', ['create', database, '/usr/share/openvswitch/vswitch.ovsschema']);
  const server = spawn('ovsdb-server', [database, `--remote=p${socket}`], { env: environment, stdio: 'ignore' });
  const control = (...command: string[]): Promise<unknown> =>
    run('ovs-vsctl', [`--db=${socket}`, '--timeout=20', ...command], { env: environment });
  const daemon = spawn('nsenter', [`--net=/run/netns/${topology.host}`, 'ovs-vswitchd', socket], {
    env: environment,
    stdio: 'ignore',
  });
  const stop = async (): Promise<void> => {
    daemon.kill();
    server.kill();
    await topology[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  };
  try {
    for (let attempt = 0; attempt < databaseAttempts && !existsSync(path.join(home, 'db.sock')); attempt++)
      await delay(databaseWaitMs);
    await control('--no-wait', 'init');
    await control('add-br', 'br0', '--', 'set', 'bridge', 'br0', 'datapath_type=netdev');
    await control('add-port', 'br0', 'va', '--', 'add-port', 'br0', 'vb');
    const flows = [
      'priority=100,arp,actions=normal',
      'priority=50,ct_state=-trk,ip,actions=ct(table=1)',
      'table=1,priority=50,ct_state=+trk+est,actions=normal',
      'table=1,priority=40,ct_state=+trk+new,ip,actions=ct(commit),normal',
      'table=1,priority=0,actions=drop',
    ];
    await run('ovs-ofctl', ['del-flows', 'br0'], { env: environment });
    for (const flow of flows) await run('ovs-ofctl', ['add-flow', 'br0', flow], { env: environment });
    for (const namespace of [topology.a, topology.b])
      await inNamespace(namespace, ['ethtool', '-K', 'eth0', 'tx', 'off']);
  } catch (error) {
    await stop();
    return `Open vSwitch did not start: ${error instanceof Error ? error.message : String(error)}`;
  }
  return { ...topology, [Symbol.asyncDispose]: stop };
}
