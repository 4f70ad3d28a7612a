/**
 * What an answer teaches whoever asked: addresses, and the names that lead to them from the question on. Records of the answer that no
 * alias of the asked name leads to teach nothing, and neither do addresses that cannot be anybody outside. Pure.
 */
import { decode, type Answer } from 'dns-packet';
import { contains, formatAddress, parseAddress, parseNetwork, type Network } from '../attach/network-address.ts';

export interface LearntAddress {
  readonly address: string;
  /** The asked name first, then its aliases down to the address; lower case, without the final dot. */
  readonly names: readonly string[];
  /** The least of the records on the way. */
  readonly ttlSeconds: number;
}

/** Aliases that are followed; resolvers follow no more than about so many either. */
const aliasesMax = 16;
/** Addresses that one answer teaches. */
const addressesMax = 64;

/** Nobody outside has these: an answer with one of them is a mistake, or wants a workload to reach what it may not by a name of its own. */
const nobodys: readonly Network[] = [
  ...['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32'],
  ...['::/128', '::1/128', '::ffff:0:0/96', 'fe80::/10', 'ff00::/8'],
].map((text) => parseNetwork(text)!);

/** `asked` is canonical. What cannot be read teaches nothing. */
export function learntAddresses(asked: string, message: Uint8Array): readonly LearntAddress[] {
  const answers = answersOf(message);
  const aliases = new Map<string, Answer>();
  for (const record of answers) if (record.type === 'CNAME') aliases.set(canonical(record.name), record);
  const found = new Map<string, LearntAddress>();
  const names: string[] = [];
  let ttlSeconds = Infinity;
  for (let name: string | null = asked; name !== null && names.length <= aliasesMax;) {
    names.push(name);
    for (const record of answers) {
      if (found.size >= addressesMax || canonical(record.name) !== name) continue;
      const address = addressOf(record);
      if (address === null) continue;
      const ttl = Math.min(ttlSeconds, record.ttl ?? 0);
      found.set(address, {
        address,
        names: [...names],
        ttlSeconds: Math.min(ttl, found.get(address)?.ttlSeconds ?? ttl),
      });
    }
    const alias = aliases.get(name);
    ttlSeconds = Math.min(ttlSeconds, alias?.ttl ?? 0);
    const target = typeof alias?.data === 'string' ? canonical(alias.data) : null;
    name = target !== null && names.includes(target) ? null : target;
  }
  return [...found.values()];
}

function answersOf(message: Uint8Array): readonly Answer[] {
  try {
    return decode(Buffer.from(message.buffer, message.byteOffset, message.byteLength)).answers ?? [];
  } catch {
    return [];
  }
}

function addressOf({ type, data, class: of }: Answer): string | null {
  if ((type !== 'A' && type !== 'AAAA') || (of !== undefined && of !== 'IN') || typeof data !== 'string') return null;
  const address = parseAddress(data);
  if (address === null || nobodys.some((network) => contains(network, address))) return null;
  return formatAddress(address);
}

function canonical(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}
