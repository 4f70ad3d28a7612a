/**
 * A PKCS#10 request (RFC 2986) for a P-256 key, written as DER by hand: it has one shape, and a library for all shapes takes 10 MB of the
 * agent's memory.
 */
import { generateKeyPairSync, sign } from 'node:crypto';

export interface CertificateRequest {
  readonly keyPem: string;
  readonly requestPem: string;
}

const tag = {
  integer: 0x02,
  bitString: 0x03,
  oid: 0x06,
  utf8: 0x0c,
  sequence: 0x30,
  set: 0x31,
  attributes: 0xa0,
} as const;
const commonName = Buffer.from('550403', 'hex');
const ecdsaWithSha256 = Buffer.from('2a8648ce3d040302', 'hex');
const pemLineCharacters = 64;

/** A new key, and the request that proves that its maker has it. Only the key counts: the manager decides what it certifies. */
export function newRequest(host: string): CertificateRequest {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = element(tag.sequence, element(tag.oid, commonName), element(tag.utf8, Buffer.from(host, 'utf8')));
  const information = element(
    tag.sequence,
    element(tag.integer, Buffer.from([0])),
    element(tag.sequence, element(tag.set, name)),
    publicKey.export({ type: 'spki', format: 'der' }),
    element(tag.attributes),
  );
  const signature = sign('sha256', information, { key: privateKey, dsaEncoding: 'der' });
  const request = element(
    tag.sequence,
    information,
    element(tag.sequence, element(tag.oid, ecdsaWithSha256)),
    element(tag.bitString, Buffer.from([0]), signature),
  );
  return {
    keyPem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    requestPem: pem('CERTIFICATE REQUEST', request),
  };
}

function element(type: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  const length: number[] = [];
  for (let rest = content.length; rest > 0; rest >>>= 8) length.unshift(rest & 0xff);
  const header = content.length < 0x80 ? [type, content.length] : [type, 0x80 | length.length, ...length];
  return Buffer.concat([Buffer.from(header), content]);
}

function pem(label: string, der: Buffer): string {
  const text = der.toString('base64');
  const lines: string[] = [];
  for (let at = 0; at < text.length; at += pemLineCharacters) lines.push(text.slice(at, at + pemLineCharacters));
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
