/**
 * What the engine believes beside what the wire shows. Pure: both are arguments, the differences are the result. A difference is named
 * by what it is about, so that the same one is the same record from round to round.
 */
import type { DivergenceRecord } from '@bulkhead/protocol';

export interface Difference {
  /** Unique and stable: kind and subject. */
  readonly id: string;
  readonly kind: DivergenceRecord['kind'];
  readonly workload: string | null;
  readonly believed: string;
  readonly observed: string;
  readonly evidence: string;
}

/** One workload as its engine tells it. */
export interface BelievedWorkload {
  readonly workload: string;
  readonly name: string;
  readonly running: boolean;
  readonly ungovernedBecause: string | null;
  /** `tcp/80`; null where the engine has no notion of ports. */
  readonly declaredPorts: ReadonlySet<string> | null;
  /** Interfaces on networks of ours. */
  readonly endpoints: readonly { readonly endpoint: string; readonly addresses: readonly string[] }[];
  readonly isolationClass: string;
  readonly runtime: string;
}

/** One endpoint as the kernel judges it. */
export interface ObservedEndpoint {
  readonly endpoint: string;
  readonly workload: string | null;
  readonly interfaceName: string;
  readonly interfaceUp: boolean;
  readonly addresses: readonly string[];
  /** Packets dropped because their source was not the endpoint's own, since the agent started. */
  readonly spoofed: number;
  /** How long nobody has known whose it is. */
  readonly unknownForMs: number;
}

export interface ServedPort {
  readonly workload: string;
  /** `tcp/80`: somebody connected, and was answered. */
  readonly port: string;
  readonly client: string;
  readonly lastMs: number;
}

export interface Wire {
  readonly endpoints: readonly ObservedEndpoint[];
  readonly served: readonly ServedPort[];
  /** What runs, per workload: the executable of its first process, null where it could not be read. */
  readonly runs: ReadonlyMap<string, string | null>;
  /** Packets that reached the host's stack without having been judged, per chain of our table. */
  readonly unjudged: ReadonlyMap<string, number>;
}

/** An endpoint waits for its workload's name for some milliseconds; for so long only where something is wrong. */
const unknownMs = 10_000;

export function differences(believed: readonly BelievedWorkload[], wire: Wire): readonly Difference[] {
  const byId = new Map(believed.map((workload) => [workload.workload, workload]));
  return [
    ...believed.flatMap((workload) => [
      ...ungoverned(workload),
      ...missing(workload, wire),
      ...boundary(workload, wire),
    ]),
    ...wire.endpoints.flatMap((endpoint) => [...unknown(endpoint, byId), ...spoofing(endpoint)]),
    ...wire.served.flatMap((served) => undeclared(served, byId.get(served.workload))),
    ...[...wire.unjudged].flatMap(([chain, packets]) => droppedPath(chain, packets)),
  ];
}

function ungoverned(workload: BelievedWorkload): readonly Difference[] {
  if (workload.ungovernedBecause === null || !workload.running) return [];
  return [
    {
      ...{ id: `ungoverned ${workload.workload}`, kind: 'ungoverned', workload: workload.workload },
      believed: `${workload.name} runs`,
      observed: 'its traffic is not judged',
      evidence: workload.ungovernedBecause,
    },
  ];
}

/** The engine says that it has an interface of ours, and the kernel has none, or another address. */
function missing(workload: BelievedWorkload, wire: Wire): readonly Difference[] {
  if (!workload.running) return [];
  return workload.endpoints.flatMap((believed): readonly Difference[] => {
    const found = wire.endpoints.find((endpoint) => endpoint.endpoint === believed.endpoint);
    const base = {
      workload: workload.workload,
      believed: `${workload.name} has ${believed.addresses.join(', ')} on endpoint ${believed.endpoint}`,
    };
    if (found === undefined) {
      return [
        {
          ...base,
          id: `missing ${believed.endpoint}`,
          kind: 'missing-on-wire',
          observed: 'the kernel has no such endpoint',
          evidence: 'read from the registry of endpoints',
        },
      ];
    }
    if (!found.interfaceUp) {
      return [
        {
          ...base,
          id: `missing ${believed.endpoint}`,
          kind: 'missing-on-wire',
          observed: `interface ${found.interfaceName} is absent or down`,
          evidence: 'read from the host’s interfaces',
        },
      ];
    }
    const foreign = believed.addresses.filter((address) => !found.addresses.includes(address));
    if (foreign.length === 0) return [];
    const observed = `the kernel lets it use ${found.addresses.join(', ')} only`;
    return [
      {
        ...base,
        id: `address ${believed.endpoint}`,
        kind: 'foreign-address',
        observed,
        evidence: `${foreign.join(', ')} would be dropped as spoofed`,
      },
    ];
  });
}

function unknown(endpoint: ObservedEndpoint, byId: ReadonlyMap<string, BelievedWorkload>): readonly Difference[] {
  const base = { id: `unknown ${endpoint.endpoint}`, kind: 'unknown-workload', workload: endpoint.workload } as const;
  const observed = `endpoint ${endpoint.endpoint} (${endpoint.addresses.join(', ')}) on ${endpoint.interfaceName}`;
  if (endpoint.workload === null) {
    if (endpoint.unknownForMs < unknownMs) return [];
    return [
      {
        ...base,
        believed: 'no workload',
        observed,
        evidence: `held, and nobody knew whose it is for ${Math.floor(endpoint.unknownForMs / 1000)} s`,
      },
    ];
  }
  const workload = byId.get(endpoint.workload);
  if (workload !== undefined && workload.running) return [];
  const believed = workload === undefined ? 'the engine has no such workload' : `${workload.name} does not run`;
  return endpoint.interfaceUp ? [{ ...base, believed, observed, evidence: 'its interface is up' }] : [];
}

function spoofing(endpoint: ObservedEndpoint): readonly Difference[] {
  if (endpoint.spoofed === 0) return [];
  return [
    {
      ...{ id: `spoofing ${endpoint.endpoint}`, kind: 'spoofing', workload: endpoint.workload },
      believed: `it sends from ${endpoint.addresses.join(', ')}`,
      observed: `${endpoint.spoofed} packets from other addresses`,
      evidence: `counter spoofed of ${endpoint.interfaceName}; all were dropped`,
    },
  ];
}

function undeclared(served: ServedPort, workload: BelievedWorkload | undefined): readonly Difference[] {
  if (workload === undefined || workload.declaredPorts === null || workload.declaredPorts.has(served.port)) return [];
  const declared = [...workload.declaredPorts].sort().join(', ');
  return [
    {
      ...{ id: `port ${served.workload} ${served.port}`, kind: 'undeclared-port', workload: served.workload },
      believed: declared === '' ? `${workload.name} declares no port` : `${workload.name} declares ${declared}`,
      observed: `it serves ${served.port}`,
      evidence: `an answered connection from ${served.client}`,
    },
  ];
}

/** Executables that must run where a class promises more than the host's own kernel. */
const proofs: Readonly<Record<string, RegExp>> = { sandbox: /runsc/, microvm: /qemu|bulkhead-runtime/ };

function boundary(workload: BelievedWorkload, wire: Wire): readonly Difference[] {
  const proof = proofs[workload.isolationClass];
  const runs = wire.runs.get(workload.workload);
  if (!workload.running || proof === undefined || runs === undefined || runs === null || proof.test(runs)) return [];
  return [
    {
      ...{ id: `boundary ${workload.workload}`, kind: 'boundary', workload: workload.workload },
      believed: `${workload.name} is isolated as ${workload.isolationClass} by runtime ${workload.runtime}`,
      observed: `its first process is ${runs}, on the host’s own kernel`,
      evidence: 'read from /proc',
    },
  ];
}

function droppedPath(chain: string, packets: number): readonly Difference[] {
  if (packets === 0) return [];
  return [
    {
      ...{ id: `dropped ${chain}`, kind: 'dropped-path', workload: null },
      believed: 'every packet of an endpoint was judged by the programs',
      observed: `${packets} packets reached the host’s ${chain} without`,
      evidence: 'counters of nftables table inet bulkhead; all were dropped',
    },
  ];
}
