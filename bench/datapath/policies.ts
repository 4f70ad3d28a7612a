/**
 * Any number of policies in the kernel's tables, of a stated mix, for one source workload and 250 destinations:
 * 60 % allow one port, 25 % allow a port range beside others, 15 % allow a network (/32 to /16) one port. From a seed: the same every time.
 */
import type { EndpointEntry, KernelPortTable, Kernel, Row } from '@bulkhead/kernel';

export const sourceIdentity = 256;
export const sourceAddress = '10.9.0.2';
const destinationFirst = 1_000;
export const destinations = 250;
export const shares = { port: 0.6, range: 0.25, network: 0.15 } as const;
const denied = { action: 'deny', rule: 1 } as const;
const rowsAtOnce = 20_000;

/** One flow that a policy allows (or, with `port` 1, none does). */
export interface AllowedFlow {
  readonly destination: string;
  readonly port: number;
}

export interface PolicySet {
  readonly flows: readonly AllowedFlow[];
  /** From the first row written to the last. */
  readonly loadMs: number;
}

/** Small, fast and seeded (mulberry32). */
export function randomSource(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export function destinationAddress(i: number): string {
  return `10.9.${1 + Math.floor(i / 200)}.${1 + (i % 200)}`;
}

function networkOf(i: number): { cidr: string; inside: string } {
  const bits = 16 + (i % 17);
  const base = (0x14000000 + i * 0x10000 + (bits > 24 ? 0x100 : 0)) >>> 0;
  const network = (base & (bits === 32 ? 0xffffffff : ~((1 << (32 - bits)) - 1))) >>> 0;
  const text = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
  return { cidr: `${text(network)}/${bits}`, inside: text(bits === 32 ? network : network + 1) };
}

function onePort(port: number, rule: number): KernelPortTable {
  return { ranges: [{ protocol: 6, from: port, to: port, verdict: { action: 'allow', rule } }], otherwise: denied };
}

function withRange(from: number, rule: number): KernelPortTable {
  const range = (first: number, last: number): KernelPortTable['ranges'][number] => ({
    protocol: 6,
    from: first,
    to: last,
    verdict: { action: 'allow', rule },
  });
  return {
    ranges: [
      range(22, 22),
      range(443, 443),
      range(from, from + 99),
      { protocol: 17, from: 53, to: 53, verdict: { action: 'allow', rule } },
    ],
    otherwise: denied,
  };
}

/** The destinations as endpoints of this host. Their interfaces need not exist: test runs do not forward. */
export function addDestinations(kernel: Kernel, template: EndpointEntry): void {
  for (let i = 0; i < destinations; i++) {
    const address = destinationAddress(i);
    kernel.maps.setEndpoint({
      ...template,
      slot: 100 + i,
      ifindex: 100_000 + i,
      identity: destinationFirst + i,
      ruleset: 100 + i,
      mac: `02:00:00:01:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}`,
      ipv4: address,
      ipv6: null,
    });
    kernel.maps.setAddress(address, { kind: 'endpoint', slot: 100 + i });
    kernel.maps.setRows([
      {
        ruleset: 100 + i,
        direction: 'ingress',
        peer: 0,
        root: kernel.maps.addPortTable({ ranges: [], otherwise: { action: 'allow', rule: 2 } }),
      },
    ]);
  }
}

/**
 * Writes `count` policies under `ruleset`, whose first lines always allow the destinations and the networks that the flows use. Peers
 * beyond the destinations are identities of workloads elsewhere, as on a real host.
 */
export function loadPolicies(kernel: Kernel, ruleset: number, count: number, seed: number): PolicySet {
  const random = randomSource(seed);
  const rows: Row[] = [];
  const networks: { cidr: string; peer: number }[] = [];
  const flows: AllowedFlow[] = [];
  const start = performance.now();
  const flush = (): void => {
    kernel.maps.setRows(rows);
    rows.length = 0;
  };
  rows.push({
    ruleset,
    direction: 'egress',
    peer: 0,
    root: kernel.maps.addPortTable({ ranges: [], otherwise: denied }),
  });
  for (let i = 0; i < count; i++) {
    const kind = (i * 0.381966) % 1;
    const port = 1024 + Math.floor(random() * 60_000);
    if (kind < shares.network) {
      const { cidr, inside } = networkOf(i % 50_000);
      const peer = 2 ** 24 + i;
      networks.push({ cidr, peer });
      rows.push({ ruleset, direction: 'egress', peer, root: kernel.maps.addPortTable(onePort(port, 10 + i)) });
      flows.push({ destination: inside, port });
    } else {
      const isRange = kind < shares.network + shares.range;
      rows.push({
        ruleset,
        direction: 'egress',
        peer: destinationFirst + i,
        root: kernel.maps.addPortTable(isRange ? withRange(port, 10 + i) : onePort(port, 10 + i)),
      });
      if (i < destinations) flows.push({ destination: destinationAddress(i), port: isRange ? port + 50 : port });
    }
    if (rows.length >= rowsAtOnce) flush();
  }
  flush();
  kernel.maps.setCidrs(networks);
  return { flows, loadMs: performance.now() - start };
}
