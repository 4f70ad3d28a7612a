/** What the engine says of one container, as ours. Pure. */
import type { Labels } from '@bulkhead/policy';
import { canonicalAddress } from '../network-address.ts';
import type { ContainerInspect, NetworkSummary } from './engine-api.ts';

export interface ContainerInterface {
  readonly networkId: string;
  readonly networkName: string;
  readonly driver: string;
  /** Empty while the container does not run. */
  readonly endpoint: string;
  readonly addresses: readonly string[];
  /** Names by which the network's members may ask for it. */
  readonly names: readonly string[];
  /** Names that only this container has for others (`--link`): alias and the target's name. */
  readonly links: readonly (readonly [alias: string, target: string])[];
}

export interface DeclaredPort {
  readonly protocol: string;
  readonly port: number;
}

export interface ContainerFacts {
  readonly container: string;
  readonly name: string;
  readonly image: string;
  readonly imageId: string;
  readonly labels: Labels;
  readonly runtime: string;
  readonly running: boolean;
  readonly pid: number | null;
  readonly startedMs: number | null;
  readonly sandbox: string | null;
  readonly network:
    | { readonly kind: 'host' | 'none' }
    /** Shares the network namespace of another container. */
    | { readonly kind: 'shared'; readonly with: string }
    | { readonly kind: 'own'; readonly interfaces: readonly ContainerInterface[] };
  /** EXPOSEd and published: what the container says that it listens on. */
  readonly declared: readonly DeclaredPort[];
}

const runtimeDefault = 'runc';

export function containerFacts(
  inspect: ContainerInspect,
  networks: ReadonlyMap<string, NetworkSummary>,
): ContainerFacts {
  const started = Date.parse(inspect.State.StartedAt);
  const running = inspect.State.Running;
  return {
    container: inspect.Id,
    name: inspect.Name.replace(/^\//, ''),
    image: inspect.Config.Image,
    imageId: inspect.Image,
    labels: inspect.Config.Labels ?? {},
    runtime: inspect.HostConfig.Runtime || runtimeDefault,
    running,
    pid: running && inspect.State.Pid > 0 ? inspect.State.Pid : null,
    startedMs: running && started > 0 ? started : null,
    sandbox: inspect.NetworkSettings.SandboxKey || null,
    network: networkOf(inspect, networks),
    declared: declaredPorts(inspect),
  };
}

function networkOf(
  inspect: ContainerInspect,
  networks: ReadonlyMap<string, NetworkSummary>,
): ContainerFacts['network'] {
  const mode = inspect.HostConfig.NetworkMode;
  if (mode === 'host' || mode === 'none') return { kind: mode };
  if (mode.startsWith('container:')) return { kind: 'shared', with: mode.slice('container:'.length) };
  const interfaces = Object.entries(inspect.NetworkSettings.Networks).map(([networkName, found]) => ({
    networkId: found.NetworkID,
    networkName,
    // A container that was never started may name a network without its id; an unknown network is nobody's.
    driver:
      (networks.get(found.NetworkID) ?? [...networks.values()].find((other) => other.Name === networkName))?.Driver ??
      'unknown',
    endpoint: found.EndpointID,
    addresses: [found.IPAddress, found.GlobalIPv6Address].flatMap((text) => canonicalAddress(text ?? '') ?? []),
    names: namesOf(inspect, found),
    links: linksOf(found.Links ?? []),
  }));
  return { kind: 'own', interfaces };
}

function namesOf(
  inspect: ContainerInspect,
  found: ContainerInspect['NetworkSettings']['Networks'][string],
): readonly string[] {
  const names = [
    inspect.Name.replace(/^\//, ''),
    inspect.Id.slice(0, 12),
    ...(found.Aliases ?? []),
    ...(found.DNSNames ?? []),
  ];
  return [...new Set(names.map((name) => name.toLowerCase()))].filter((name) => name !== '');
}

/** `80/tcp`, as in EXPOSE and in port bindings. */
function declaredPorts(inspect: ContainerInspect): readonly DeclaredPort[] {
  const keys = new Set([
    ...Object.keys(inspect.Config.ExposedPorts ?? {}),
    ...Object.keys(inspect.HostConfig.PortBindings ?? {}),
  ]);
  return [...keys].sort().flatMap((key) => {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?\/(\w+)$/.exec(key);
    if (match === null) return [];
    const from = Number(match[1]);
    const to = Math.min(Number(match[2] ?? from), 65_535);
    return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => ({
      protocol: match[3]!,
      port: from + index,
    }));
  });
}

/** The engine writes `target:alias`. */
function linksOf(links: readonly string[]): ContainerInterface['links'] {
  return links.flatMap((link) => {
    const [target, alias] = link.split(':');
    if (target === undefined || alias === undefined) return [];
    return [[alias.split('/').at(-1)!.toLowerCase(), target.replace(/^\//, '').toLowerCase()] as const];
  });
}

/** Isolation classes of the runtimes that are known by name; any other runtime is a class of its own name. */
const classes: Readonly<Record<string, string>> = {
  runc: 'shared',
  'io.containerd.runc.v2': 'shared',
  crun: 'shared',
  runsc: 'sandbox',
  'bulkhead-microvm': 'microvm',
};
export function isolationClass(runtime: string): string {
  return classes[runtime] ?? runtime;
}

/** Null where every interface is ours; else why not, for people. */
export function ungovernedBecause(facts: ContainerFacts, driver: string, adopted: ReadonlySet<string>): string | null {
  switch (facts.network.kind) {
    case 'host':
      return 'network host: it uses the interfaces of the host itself';
    case 'none':
      return 'network none: it has no interface that could be governed';
    case 'shared':
      return null;
    case 'own': {
      const foreign = facts.network.interfaces.filter(
        (found) => found.driver !== driver && !adopted.has(found.endpoint),
      );
      if (facts.network.interfaces.length === 0) return 'it is on no network';
      if (foreign.length === 0) return null;
      return foreign
        .map((found) => `its interface on network ${found.networkName} (driver ${found.driver}) is not ours`)
        .join('; ');
    }
  }
}
