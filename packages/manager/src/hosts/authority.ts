/** The manager's own certificate authority: ECDSA P-256, the CA's key in a file that only root reads. */
import 'reflect-metadata';
import { createHash, randomBytes, webcrypto } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { hostSpiffeId, managerServerName } from '@bulkhead/protocol';
import { writeSecretFile } from '../store/secret-file.ts';
import type { HostCertificate } from '../store/commands.ts';

x509.cryptoProvider.set(webcrypto as Crypto);

const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const;
const dayMs = 86_400_000;
const authorityDays = 3650;
/** Certificates begin a little in the past, for hosts whose clock is behind. */
const clockSkewMs = 5 * 60_000;

export interface CertificateLifetimes {
  readonly hostMs: number;
  readonly serverMs: number;
}
export const defaultLifetimes: CertificateLifetimes = { hostMs: 30 * dayMs, serverMs: 90 * dayMs };

export interface IssuedHost {
  readonly pem: string;
  readonly certificate: HostCertificate;
}

export interface ServerIdentity {
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export type IssueResult =
  | { readonly kind: 'issued'; readonly issued: IssuedHost }
  | { readonly kind: 'refused'; readonly why: string };

export interface Authority {
  readonly certificatePem: string;
  /** SHA-256 of the certificate's DER, hexadecimal. */
  readonly fingerprint: string;
  /** Signs the key of a PKCS#10 request for `host`; whatever else the request asks for does not count. */
  issueHost(host: string, requestPem: string): Promise<IssueResult>;
  /** `names`: DNS names and IP addresses beside `managerServerName`, `localhost` and the loopback addresses. */
  issueServer(names: readonly string[]): Promise<ServerIdentity>;
}

/** Reads the authority from the directory, or makes it there. */
export async function openAuthority(
  directory: string,
  nowMs: () => number,
  lifetimes: CertificateLifetimes = defaultLifetimes,
): Promise<Authority> {
  const certificatePath = join(directory, 'ca.pem');
  const keyPath = join(directory, 'ca.key');
  if (!existsSync(certificatePath)) await createAuthority(certificatePath, keyPath, nowMs());
  const certificate = new x509.X509Certificate(readFileSync(certificatePath, 'utf8'));
  const key = await importKey(readFileSync(keyPath, 'utf8'));
  const fingerprint = createHash('sha256').update(new Uint8Array(certificate.rawData)).digest('hex');

  const issue = async (subject: string, publicKey: x509.PublicKeyType, lifetimeMs: number, purpose: x509.Extension[]) =>
    x509.X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject,
      issuer: certificate.subject,
      notBefore: new Date(nowMs() - clockSkewMs),
      notAfter: new Date(Math.min(nowMs() + lifetimeMs, certificate.notAfter.getTime())),
      signingKey: key,
      signingAlgorithm,
      publicKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        await x509.AuthorityKeyIdentifierExtension.create(certificate.publicKey),
        ...purpose,
      ],
    });

  return {
    certificatePem: pemFile(certificate),
    fingerprint,
    async issueHost(host, requestPem) {
      const request = await readRequest(requestPem);
      if (request.kind === 'refused') return request;
      const issued = await issue(`CN=${host}`, request.publicKey, lifetimes.hostMs, [
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: hostSpiffeId(host) }]),
      ]);
      return {
        kind: 'issued',
        issued: {
          pem: pemFile(issued),
          certificate: { serial: issued.serialNumber.toLowerCase(), notAfterMs: issued.notAfter.getTime() },
        },
      };
    },
    async issueServer(names) {
      const keys = await webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify']);
      const all = new Set([managerServerName, 'localhost', '127.0.0.1', '::1', ...names]);
      const issued = await issue(`CN=${managerServerName}`, keys.publicKey as CryptoKey, lifetimes.serverMs, [
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          [...all].map((value) => ({ type: isAddress(value) ? ('ip' as const) : ('dns' as const), value })),
        ),
      ]);
      return {
        certificatePem: pemFile(issued),
        keyPem: await exportKey(keys.privateKey),
        notBeforeMs: issued.notBefore.getTime(),
        notAfterMs: issued.notAfter.getTime(),
      };
    },
  };
}

async function createAuthority(certificatePath: string, keyPath: string, nowMs: number): Promise<void> {
  const keys = (await webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: 'CN=Bulkhead authority',
    notBefore: new Date(nowMs - clockSkewMs),
    notAfter: new Date(nowMs + authorityDays * dayMs),
    keys,
    signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  // The key first: a certificate without its key would be taken for an authority.
  writeSecretFile(keyPath, await exportKey(keys.privateKey));
  writeSecretFile(certificatePath, pemFile(certificate), 0o644);
}

type RequestRead =
  | { readonly kind: 'request'; readonly publicKey: x509.PublicKey }
  | { readonly kind: 'refused'; readonly why: string };

async function readRequest(pem: string): Promise<RequestRead> {
  let request: x509.Pkcs10CertificateRequest;
  try {
    request = new x509.Pkcs10CertificateRequest(pem);
    // The signature proves that the asker has the key.
    if (!(await request.verify())) return { kind: 'refused', why: 'the request is not signed by its own key' };
  } catch (error) {
    return {
      kind: 'refused',
      why: `not a PKCS#10 request in PEM: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
  const algorithm = request.publicKey.algorithm as { readonly name: string; readonly namedCurve?: string };
  if (algorithm.name !== 'ECDSA' || algorithm.namedCurve !== 'P-256') {
    return { kind: 'refused', why: 'the key is not ECDSA P-256' };
  }
  return { kind: 'request', publicKey: request.publicKey };
}

/** 127 random bits; the first one is zero so that the number is positive, the second one set so that its length is constant. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function isAddress(value: string): boolean {
  return value.includes(':') || /^[0-9.]+$/.test(value);
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), keyAlgorithm, false, ['sign']);
}

/** With a newline at the end, so that certificates can be put one after the other. */
function pemFile(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}
