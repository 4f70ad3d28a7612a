/**
 * Kubernetes' networks stand for pods and nodes too, by their addresses. Identities have no addresses, so which of these networks a
 * workload's addresses are in is a fact about it, one label per prefix that some document names: `bulkhead.dev/in-10.0.0.0_8`.
 */
import { factPrefix, type Labels } from '../model.ts';
import { addressBits, parsePrefix, type Prefix, prefixContains } from './prefix.ts';
import type { Selector } from './selector.ts';

const addressFactPrefix = `${factPrefix}in-`;
const factValue = 'true';

export function addressFactKey({ cidr }: Prefix): string {
  return addressFactPrefix + cidr.replaceAll(':', '-').replace('/', '_');
}

/** Selects the workloads and hosts that have an address in the network. */
export function insideSelector({
  prefix,
  except,
}: {
  readonly prefix: Prefix;
  readonly except: readonly Prefix[];
}): Selector {
  return {
    matchExpressions: [
      { key: addressFactKey(prefix), operator: 'Exists' },
      ...except.map((hole) => ({ key: addressFactKey(hole), operator: 'DoesNotExist' }) as const),
    ],
  };
}

/** Of the label keys those that are about addresses, as the function that gives somebody's facts from its addresses. */
export function addressFacts(keys: Iterable<string>): (addresses: readonly string[]) => Labels {
  const prefixes = [...keys].flatMap((key) => {
    const bits = factPrefixBits(key);
    return bits === null ? [] : [{ key, bits }];
  });
  return (addresses) => {
    const all = addresses.flatMap((address) => addressBits(address) ?? []);
    const inside = prefixes.filter(({ bits }) => all.some((address) => prefixContains(bits, address)));
    return Object.fromEntries(inside.map(({ key }) => [key, factValue]));
  };
}

export function isAddressFact(key: string): boolean {
  return key.startsWith(addressFactPrefix);
}

function factPrefixBits(key: string): string | null {
  if (!isAddressFact(key)) return null;
  const text = key.slice(addressFactPrefix.length).replace('_', '/').replaceAll('-', ':');
  const parsed = parsePrefix(text);
  return parsed.kind === 'prefix' ? parsed.prefix.bits : null;
}
