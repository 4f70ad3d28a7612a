import ipaddr from 'ipaddr.js';

/**
 * A network as bits: the family ('4' or '6') followed by the network's leading bits, each '0' or '1'. One prefix contains another
 * exactly when its text starts the other's, so that no arithmetic on addresses is needed anywhere.
 */
export type PrefixBits = string;

export interface Prefix {
  /** Canonical text, e.g. `10.0.0.0/8` or `fd00::/8`. */
  readonly cidr: string;
  readonly bits: PrefixBits;
}

export type ParsedPrefix =
  | { readonly kind: 'prefix'; readonly prefix: Prefix }
  | { readonly kind: 'refused'; readonly reason: string; readonly allowed: string };

const cidrForm = 'a network such as 10.0.0.0/8 or fd00::/8';

/** Parses `address/length`; a network whose host bits are not zero is refused, since it says two things at once. */
export function parsePrefix(text: string): ParsedPrefix {
  const parsed = maskedPrefix(text);
  if (parsed.kind === 'refused') return parsed;
  const address = addressBits(text.slice(0, text.indexOf('/')));
  if (address?.includes('1', parsed.prefix.bits.length) !== true) return parsed;
  return { kind: 'refused', reason: `"${text}" has bits set after its prefix length`, allowed: parsed.prefix.cidr };
}

/** The same, leaving out what is set after the prefix length, as Kubernetes does. */
export function maskedPrefix(text: string): ParsedPrefix {
  const slash = text.indexOf('/');
  const address = slash < 0 ? null : addressBits(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (address === null || !/^(0|[1-9][0-9]{0,2})$/.test(lengthText)) {
    return { kind: 'refused', reason: `"${text}" is no network`, allowed: cidrForm };
  }
  const length = Number(lengthText);
  const lengthMax = address.length - 1;
  if (length > lengthMax) {
    return {
      kind: 'refused',
      reason: `the prefix length ${length} is too long`,
      allowed: `0 to ${lengthMax}`,
    };
  }
  return { kind: 'prefix', prefix: prefixFromBits(address.slice(0, length + 1)) };
}

/** The bits of a whole address (32 or 128 of them), null where the text is no address. IPv4 must be four plain decimals. */
export function addressBits(text: string): PrefixBits | null {
  const parts = text.split('.');
  if (parts.length === 4 && !text.includes(':')) {
    let bits = '4';
    for (const part of parts) {
      if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return null;
      bits += octetBits[Number(part)];
    }
    return bits;
  }
  if (!text.includes(':') || text.includes('%') || !ipaddr.IPv6.isValid(text)) return null;
  return ipaddr.IPv6.parse(text)
    .toByteArray()
    .reduce((bits, octet) => bits + octetBits[octet], '6');
}

export function prefixFromBits(bits: PrefixBits): Prefix {
  const size = bits.startsWith('4') ? 32 : 128;
  const padded = bits.slice(1).padEnd(size, '0');
  const octets = Array.from({ length: size / 8 }, (_, index) =>
    Number.parseInt(padded.slice(index * 8, index * 8 + 8), 2),
  );
  const address = size === 32 ? octets.join('.') : ipv6Text(octets);
  return { cidr: `${address}/${bits.length - 1}`, bits };
}

export function prefixContains(outer: PrefixBits, inner: PrefixBits): boolean {
  return inner.startsWith(outer);
}

/** RFC 5952, except that mapped IPv4 addresses stay hexadecimal: the kernel's table knows one family only. */
function ipv6Text(octets: readonly number[]): string {
  return new ipaddr.IPv6([...octets]).toRFC5952String();
}

const octetBits: readonly string[] = Array.from({ length: 256 }, (_, value) => value.toString(2).padStart(8, '0'));
