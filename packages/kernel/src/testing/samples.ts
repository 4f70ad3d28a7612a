/** Arbitrary values of the port's types, and small ones to build cases from. */
import fc from 'fast-check';
import { cidrText, readAddress } from '../address.ts';
import { ruleMax } from '../port-nodes.ts';
import type { EndpointEntry, KernelPortTable, KernelVerdict } from '../port.ts';

export const allow: KernelVerdict = { action: 'allow', rule: 7 };
export const deny: KernelVerdict = { action: 'deny', rule: 8 };
export const always = (verdict: KernelVerdict): KernelPortTable => ({ ranges: [], otherwise: verdict });

export const sampleEndpoint: EndpointEntry = {
  slot: 1,
  ifindex: 2,
  kind: 'veth',
  state: 'governed',
  identity: 300,
  ruleset: 1,
  epoch: 1,
  generation: 1,
  mac: '02:00:00:00:00:01',
  gatewayMac: '02:00:00:00:00:02',
  ipv4: '10.9.0.2',
  ipv6: 'fd00:9::2',
  mtu: 1500,
  connectionsMax: 1000,
};

const plain = { noNullPrototype: true } as const;

export const verdict: fc.Arbitrary<KernelVerdict> = fc.record(
  {
    action: fc.constantFrom('allow', 'deny', 'reject', 'ask'),
    rule: fc.integer({ min: 0, max: ruleMax }),
    live: fc.constantFrom('keep', 'reset', 'stay'),
  },
  { ...plain, requiredKeys: ['action', 'rule'] },
);

/** Tables from sorted pieces; what lies between is left to `otherwise`. Few distinct verdicts, so that neighbours often agree. */
export function portTable(verdicts: fc.Arbitrary<KernelVerdict>, piecesMax: number): fc.Arbitrary<KernelPortTable> {
  const piece = fc.record(
    {
      protocol: fc.constantFrom(6, 17),
      from: fc.integer({ min: 0, max: 2000 }),
      length: fc.integer({ min: 0, max: 30 }),
      verdict: verdicts,
    },
    plain,
  );
  return fc
    .record({ otherwise: verdicts, pieces: fc.array(piece, { maxLength: piecesMax }) })
    .map(({ otherwise, pieces }) => {
      const ranges: KernelPortTable['ranges'][number][] = [];
      for (const next of pieces.toSorted((a, b) => a.protocol - b.protocol || a.from - b.from)) {
        const last = ranges.at(-1);
        if (last?.protocol === next.protocol && last.to >= next.from) continue;
        ranges.push({ protocol: next.protocol, from: next.from, to: next.from + next.length, verdict: next.verdict });
      }
      return { otherwise, ranges };
    });
}

const word24 = fc.integer({ min: 0, max: 2 ** 24 - 1 });
const mac = fc
  .array(fc.integer({ min: 0, max: 255 }), { minLength: 6, maxLength: 6 })
  .map((bytes) => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':'));
/** Few hosts in few networks, so that prefixes nest and addresses meet. */
export const ipv4 = fc
  .tuple(fc.constantFrom(10, 172), fc.constantFrom(0, 1, 128), fc.constantFrom(0, 200), fc.integer({ min: 1, max: 6 }))
  .map((bytes) => bytes.join('.'));
export const ipv6 = fc
  .tuple(fc.constantFrom('fd00', 'fd80'), fc.integer({ min: 1, max: 6 }))
  .map(([net, host]) => `${net}::${host.toString(16)}`);
export const address = fc.oneof(ipv4, ipv6);

export const endpoint: fc.Arbitrary<EndpointEntry> = fc.record(
  {
    slot: fc.integer({ min: 1, max: 3 }),
    ifindex: fc.integer({ min: 100, max: 109 }),
    kind: fc.constantFrom('veth', 'tap'),
    state: fc.constantFrom('held', 'governed', 'fenced', 'observed'),
    identity: word24,
    ruleset: word24,
    epoch: fc.integer({ min: 0, max: 2 ** 16 - 1 }),
    generation: fc.integer({ min: 0, max: 1000 }),
    mac,
    gatewayMac: mac,
    ipv4: fc.option(ipv4),
    ipv6: fc.option(ipv6),
    mtu: fc.integer({ min: 576, max: 9000 }),
    connectionsMax: fc.integer({ min: 0, max: 100_000 }),
  },
  plain,
);

const bytes = new DataView(new ArrayBuffer(16));
/** The network of an address: its first bits, the rest zero. */
export function networkOf(
  fullAddress: string,
  write: (text: string, to: DataView, at: number) => void,
  bits: number,
): string {
  const prefixBits = fullAddress.includes(':') ? bits : bits + 96;
  write(fullAddress, bytes, 0);
  for (let bit = prefixBits; bit < 128; bit++)
    bytes.setUint8(bit >> 3, bytes.getUint8(bit >> 3) & ~(0x80 >>> (bit & 7)));
  return cidrText({ prefixBits, address: readAddress(bytes, 0) });
}
