import type { Compiler } from '../compile/compiler.ts';
import {
  type CompiledDirection,
  type Direction,
  type Flow,
  type IdentityId,
  type Labels,
  type Party,
  type PeerId,
  type PortTable,
  reservedIdentity,
  type SideVerdict,
} from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { addressBits, parsePrefix } from '../select/prefix.ts';
import { generateAddress, generateService, pick, type Random, seededRandom } from './generate.ts';

/** Reads compiled tables as a kernel does: longest prefix, then row or `others`, then port range or `otherwise`. */

/** The far end of a packet as a kernel knows it. */
export type Target =
  | { readonly kind: 'identity'; readonly identity: IdentityId }
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'host' };

/** Peers by the bits of their prefix. */
export type PrefixPeers = ReadonlyMap<string, PeerId>;

/** What was compiled, and for whom. */
export interface CompiledWorld {
  readonly policySet: PolicySet;
  readonly identities: ReadonlyMap<IdentityId, Labels>;
  readonly subjects: ReadonlySet<IdentityId>;
}

export const unknownIdentity = reservedIdentity.unknown as number as IdentityId;

export function prefixPeers(compiler: Compiler): PrefixPeers {
  return new Map(
    compiler.cidrs().map(({ cidr, peer }) => {
      const parsed = parsePrefix(cidr);
      if (parsed.kind === 'refused') throw new Error(`the compiler gave the prefix ${cidr}: ${parsed.reason}`);
      return [parsed.prefix.bits, peer];
    }),
  );
}

export function peerOf(prefixes: PrefixPeers, target: Target): PeerId {
  if (target.kind === 'identity') return target.identity as number as PeerId;
  if (target.kind === 'host') return reservedIdentity.host as number as PeerId;
  const bits = addressBits(target.address) ?? '';
  for (let length = bits.length; length > 0; length--) {
    const peer = prefixes.get(bits.slice(0, length));
    if (peer !== undefined) return peer;
  }
  return reservedIdentity.world as number as PeerId;
}

export function tableFor(prefixes: PrefixPeers, tables: CompiledDirection, target: Target): PortTable {
  return tables.rows.get(peerOf(prefixes, target)) ?? tables.others;
}

export function verdictAt({ ranges, otherwise }: PortTable, protocol: number, port: number): SideVerdict {
  const range = ranges.find(
    (candidate) => candidate.protocol === protocol && candidate.from <= port && port <= candidate.to,
  );
  return range?.verdict ?? otherwise;
}

/** The same end as policy knows it: an identity without labels known is an unknown workload. */
export function partyOf(identities: ReadonlyMap<IdentityId, Labels>, target: Target): Party {
  if (target.kind !== 'identity') return target;
  const labels = identities.get(target.identity);
  return labels === undefined ? { kind: 'unknown' } : { kind: 'workload', labels };
}

export function generateTarget(random: Random, identities: ReadonlyMap<IdentityId, Labels>): Target {
  const kind = random(10);
  if (kind === 0) return { kind: 'host' };
  if (kind < 5) return { kind: 'address', address: generateAddress(random) };
  return { kind: 'identity', identity: pick(random, [unknownIdentity, ...identities.keys()]) };
}

/** One packet of a subject: what the tables say about it, and the flow that it is. */
export interface Probe {
  readonly direction: Direction;
  readonly compiled: SideVerdict;
  readonly flow: Flow;
}

/** Random packets to and from random subjects. */
export function* generateProbes(
  random: Random,
  compiler: Compiler,
  world: CompiledWorld,
  count: number,
): Generator<Probe> {
  const prefixes = prefixPeers(compiler);
  for (let made = 0; made < count && world.subjects.size > 0; made++) {
    const subject = pick(random, [...world.subjects]);
    const direction = pick(random, ['egress', 'ingress'] as const);
    const target = generateTarget(random, world.identities);
    const service = generateService(random);
    const tables = compiler.subject(subject);
    if (tables === undefined) throw new Error(`the compiler does not have the subject ${subject}`);
    const [own, far] = [
      partyOf(world.identities, { kind: 'identity', identity: subject }),
      partyOf(world.identities, target),
    ];
    const [source, destination] = direction === 'egress' ? [own, far] : [far, own];
    const compiled = verdictAt(tableFor(prefixes, tables[direction], target), service.protocol, service.port);
    yield { direction, compiled, flow: { source, destination, ...service } };
  }
}

function plain({ ranges, otherwise }: PortTable): object {
  return { ranges, otherwise };
}

/** The tables without the numbers that were given underway. Throws where a row is needless or nobody's. */
export function describeTables(compiler: Compiler, world: CompiledWorld): object {
  const cidrs = new Map(compiler.cidrs().map(({ cidr, peer }) => [peer, cidr]));
  const peers = [...world.identities.keys(), 1, 2, 3, ...cidrs.keys()] as PeerId[];
  const side = (tables: CompiledDirection): object => {
    for (const peer of tables.rows.keys()) if (!peers.includes(peer)) throw new Error(`a row of nobody: ${peer}`);
    const rows = peers.flatMap((peer) => {
      const table = tables.rows.get(peer);
      if (table === tables.others) throw new Error(`a row that says the same as others: ${peer}`);
      return table === undefined ? [] : [[cidrs.get(peer) ?? String(peer), plain(table)] as const];
    });
    return { rows: Object.fromEntries(rows), others: plain(tables.others) };
  };
  const subjects = [...world.subjects].map((identity) => {
    const compiled = compiler.subject(identity)!;
    return [identity, { egress: side(compiled.egress), ingress: side(compiled.ingress) }] as const;
  });
  return { cidrs: [...cidrs.values()].sort(), subjects: Object.fromEntries(subjects) };
}

/** Port tables by subject, side and target: what packets to and from everything that is there would meet. */
export function tablesMet(compiler: Compiler, world: CompiledWorld): Map<string, string> {
  const prefixes = prefixPeers(compiler);
  const targets: Target[] = [
    { kind: 'host' },
    ...[...world.identities.keys()].map((identity) => ({ kind: 'identity', identity }) as const),
  ];
  for (let seed = 0; seed < 40; seed++) targets.push({ kind: 'address', address: generateAddress(seededRandom(seed)) });
  const met = new Map<string, string>();
  for (const identity of world.subjects) {
    const compiled = compiler.subject(identity)!;
    for (const direction of ['egress', 'ingress'] as const) {
      for (const target of targets) {
        const table = tableFor(prefixes, compiled[direction], target);
        met.set(`${identity} ${direction} ${JSON.stringify(target)}`, JSON.stringify(plain(table)));
      }
    }
  }
  return met;
}
