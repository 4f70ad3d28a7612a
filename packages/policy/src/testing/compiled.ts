import type { Compiler } from '../compile/compiler.ts';
import type { Learnt } from '../compile/learnt.ts';
import {
  type CompiledDirection,
  type CompiledSubject,
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
import { generateAddress, generateService } from './generate.ts';
import { chance, pick, type Random, seededRandom } from './random.ts';

/** Reads compiled tables as a kernel does: what was learnt, else the longest prefix; row or `others`; port range or `otherwise`. */

/** The far end of a packet as a kernel knows it. */
export type Target =
  | { readonly kind: 'identity'; readonly identity: IdentityId }
  /** `learnt`: what the subject learnt about the address. */
  | { readonly kind: 'address'; readonly address: string; readonly learnt?: Learnt }
  | { readonly kind: 'host' };

/** Peers by the bits of their prefix. */
export type PrefixPeers = ReadonlyMap<string, PeerId>;

/** What was compiled, and for whom. */
export interface CompiledWorld {
  readonly policySet: PolicySet;
  readonly identities: ReadonlyMap<IdentityId, Labels>;
  readonly subjects: ReadonlySet<IdentityId>;
  /** Labels of the host; none where it is left out. */
  readonly host?: Labels;
  /** What workloads learnt by name. */
  readonly learnt?: readonly Learnt[];
}

export const unknownIdentity = reservedIdentity.unknown as number as IdentityId;
export const hostIdentity = reservedIdentity.host as number as IdentityId;

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
  if (target.learnt?.peer != null) return target.learnt.peer;
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
export function partyOf({ identities, host }: CompiledWorld, target: Target): Party {
  switch (target.kind) {
    case 'host':
      return { kind: 'host', labels: host ?? {} };
    case 'address': {
      const { address, learnt } = target;
      return { kind: 'address', address, ...(learnt === undefined ? {} : { names: learnt.names }) };
    }
    case 'identity': {
      if (target.identity === hostIdentity) return { kind: 'host', labels: host ?? {} };
      const labels = identities.get(target.identity);
      return labels === undefined ? { kind: 'unknown' } : { kind: 'workload', labels };
    }
  }
}

function generateTarget(random: Random, { identities, learnt = [] }: CompiledWorld, learns: boolean): Target {
  const kind = random(10);
  if (kind === 0) return { kind: 'host' };
  if (kind >= 5) return { kind: 'identity', identity: pick(random, [unknownIdentity, ...identities.keys()]) };
  if (!learns || learnt.length === 0 || chance(random, 40))
    return { kind: 'address', address: generateAddress(random) };
  const one = pick(random, learnt);
  return { kind: 'address', address: one.address, learnt: one };
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
    // Whoever learns nothing has names for nobody; whoever has a use for none need not be told.
    const target = generateTarget(random, world, direction === 'egress' && subject !== hostIdentity);
    const service = generateService(random);
    const tables = compiler.subject(subject);
    if (tables === undefined) throw new Error(`the compiler does not have the subject ${subject}`);
    const [own, far] = [partyOf(world, { kind: 'identity', identity: subject }), partyOf(world, target)];
    const [source, destination] = direction === 'egress' ? [own, far] : [far, own];
    const table = tableFor(prefixes, tables[direction], asKnown(tables, target));
    const compiled = verdictAt(table, service.protocol, service.port);
    yield { direction, compiled, flow: { source, destination, ...service } };
  }
}

/** What was learnt is looked at only where some rule asks for names. */
function asKnown({ learns }: CompiledSubject, target: Target): Target {
  return target.kind === 'address' && !learns ? { kind: 'address', address: target.address } : target;
}

function plain({ ranges, otherwise }: PortTable): object {
  return { ranges, otherwise };
}

/** The tables without the numbers that were given underway. Throws where a row is needless or nobody's. */
export function describeTables(compiler: Compiler, world: CompiledWorld): object {
  const { identities, subjects, learnt = [] } = world;
  const cidrs = new Map(compiler.cidrs().map(({ cidr, peer }) => [peer, cidr]));
  const peers = new Set([...identities.keys(), 1, 2, 3, ...cidrs.keys()] as PeerId[]);
  const learntPeers = new Set(learnt.map(({ peer }) => peer));
  const prefixes = prefixPeers(compiler);
  const side = (tables: CompiledDirection): object => {
    for (const [peer, table] of tables.rows) {
      if (!peers.has(peer) && !learntPeers.has(peer)) throw new Error(`a row of nobody: ${peer}`);
      if (table === tables.others) throw new Error(`a row that says the same as others: ${peer}`);
    }
    const rows = [...peers].flatMap((peer) => {
      const table = tables.rows.get(peer);
      return table === undefined ? [] : [[cidrs.get(peer) ?? String(peer), plain(table)] as const];
    });
    return { rows: Object.fromEntries(rows), others: plain(tables.others) };
  };
  const described = [...subjects].map((identity) => {
    const compiled = compiler.subject(identity)!;
    // By the tables that the addresses meet: which peers they are is nobody's business.
    const names = learnt.map((one) => {
      const target = asKnown(compiled, { kind: 'address', address: one.address, learnt: one });
      const table = tableFor(prefixes, compiled.egress, target);
      return [targetText({ kind: 'address', address: one.address, learnt: one }), plain(table)] as const;
    });
    return [
      identity,
      { egress: side(compiled.egress), ingress: side(compiled.ingress), names: Object.fromEntries(names) },
    ] as const;
  });
  return { cidrs: [...cidrs.values()].sort(), subjects: Object.fromEntries(described) };
}

/** Port tables by subject, side and target: what packets to and from everything that is there would meet. */
export function tablesMet(compiler: Compiler, world: CompiledWorld): Map<string, string> {
  const prefixes = prefixPeers(compiler);
  const targets: Target[] = [
    { kind: 'host' },
    ...[...world.identities.keys()].map((identity) => ({ kind: 'identity', identity }) as const),
  ];
  for (let seed = 0; seed < 40; seed++) targets.push({ kind: 'address', address: generateAddress(seededRandom(seed)) });
  const learntTargets = (world.learnt ?? []).map((learnt): Target => ({ ...learnt, kind: 'address', learnt }));
  const met = new Map<string, string>();
  for (const identity of world.subjects) {
    const compiled = compiler.subject(identity)!;
    for (const direction of ['egress', 'ingress'] as const) {
      for (const target of direction === 'egress' ? [...targets, ...learntTargets] : targets) {
        const table = tableFor(prefixes, compiled[direction], asKnown(compiled, target));
        met.set(`${identity} ${direction} ${targetText(target)}`, JSON.stringify(plain(table)));
      }
    }
  }
  return met;
}

function targetText(target: Target): string {
  if (target.kind !== 'address') return JSON.stringify(target);
  return `${target.address} ${target.learnt?.names.join(' ') ?? ''}`;
}
