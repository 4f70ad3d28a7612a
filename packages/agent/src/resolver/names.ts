/** Which names a workload's network knows, and what they mean. Pure. */
import type { Answer } from 'dns-packet';
import { formatAddress, parseAddress } from '../attach/network-address.ts';

/** One name of one endpoint, within its network. */
export interface NamedEndpoint {
  readonly network: string;
  readonly workload: string;
  /** Lower case, the one to show first. */
  readonly names: readonly string[];
  readonly addresses: readonly string[];
}

/** A name that only one workload knows, for another endpoint of its network (`--link`). */
export interface PrivateName {
  readonly workload: string;
  readonly name: string;
  readonly target: string;
}

export interface NameTable {
  /** Addresses of all endpoints of the name. */
  readonly byName: ReadonlyMap<string, readonly NamedEndpoint[]>;
  readonly byAddress: ReadonlyMap<string, NamedEndpoint>;
  readonly privately: ReadonlyMap<string, string>;
}

/** Containers come and go: a client that keeps the answer would speak to nobody. */
const ownTtlSeconds = 5;
const answersMax = 64;

export function nameTable(endpoints: readonly NamedEndpoint[], privately: readonly PrivateName[]): NameTable {
  const byName = new Map<string, NamedEndpoint[]>();
  const byAddress = new Map<string, NamedEndpoint>();
  for (const endpoint of endpoints) {
    for (const name of new Set(endpoint.names)) {
      const key = nameKey(endpoint.network, name);
      const same = byName.get(key);
      if (same === undefined) byName.set(key, [endpoint]);
      else same.push(endpoint);
    }
    for (const address of endpoint.addresses) byAddress.set(address, endpoint);
  }
  return {
    byName,
    byAddress,
    privately: new Map(privately.map(({ workload, name, target }) => [nameKey(workload, name), target])),
  };
}

const nameKey = (scope: string, name: string): string => `${scope} ${name}`;

export type LocalAnswer =
  | { readonly kind: 'answers'; readonly answers: readonly Answer[]; readonly workloads: readonly string[] }
  /** Not a name of ours: ask the upstream. */
  | { readonly kind: 'elsewhere' }
  /** An address of ours that belongs to another network: neither told, nor asked of others. */
  | { readonly kind: 'hidden' };

/** What a workload on a network gets for a name, from what this host knows. */
export function localAnswer(
  table: NameTable,
  asker: { readonly workload: string; readonly network: string },
  question: { readonly name: string; readonly type: string },
  own: (address: string) => boolean,
): LocalAnswer {
  const reverse = reverseAddress(question.name);
  if (reverse !== null) return reverseAnswer(table, asker.network, question, reverse, own);
  const target = table.privately.get(nameKey(asker.workload, question.name)) ?? question.name;
  const endpoints = table.byName.get(nameKey(asker.network, target));
  if (endpoints === undefined) return { kind: 'elsewhere' };
  const addresses = endpoints
    .flatMap((endpoint) => endpoint.addresses)
    .filter((address) => address.includes(':') === (question.type === 'AAAA'));
  const asked = question.type === 'A' || question.type === 'AAAA' || question.type === 'ANY';
  const answers = (asked ? addresses : []).slice(0, answersMax).map((data) => ({
    type: data.includes(':') ? 'AAAA' : 'A',
    name: question.name,
    class: 'IN',
    ttl: ownTtlSeconds,
    data,
  }));
  return { kind: 'answers', answers, workloads: endpoints.map((endpoint) => endpoint.workload) };
}

function reverseAnswer(
  table: NameTable,
  network: string,
  question: { readonly name: string; readonly type: string },
  address: string,
  own: (address: string) => boolean,
): LocalAnswer {
  const endpoint = table.byAddress.get(address);
  if (endpoint === undefined || endpoint.network !== network) return { kind: own(address) ? 'hidden' : 'elsewhere' };
  const [name] = endpoint.names;
  if (name === undefined || question.type !== 'PTR')
    return { kind: 'answers', answers: [], workloads: [endpoint.workload] };
  const answer = { type: 'PTR', name: question.name, class: 'IN', ttl: ownTtlSeconds, data: name };
  return { kind: 'answers', answers: [answer], workloads: [endpoint.workload] };
}

/** The address in `4.3.2.1.in-addr.arpa` and `….ip6.arpa`, null for every other name. */
export function reverseAddress(name: string): string | null {
  if (name.endsWith('.in-addr.arpa')) {
    const parts = name.slice(0, -'.in-addr.arpa'.length).split('.');
    const address = parts.length === 4 ? parseAddress(parts.toReversed().join('.')) : null;
    return address === null ? null : formatAddress(address);
  }
  if (!name.endsWith('.ip6.arpa')) return null;
  const digits = name.slice(0, -'.ip6.arpa'.length).split('.');
  if (digits.length !== 32 || !digits.every((digit) => /^[0-9a-f]$/.test(digit))) return null;
  return formatAddress({ family: 6, value: BigInt(`0x${digits.toReversed().join('')}`) });
}
