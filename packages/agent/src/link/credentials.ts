/** The host's key and certificate: made here, signed by the manager, kept in files that only root reads. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { hostName, hostOfSpiffeId } from '@bulkhead/protocol';
import { z } from 'zod';

const fileName = 'credentials.json';
/** A certificate is renewed when this part of its life has passed. */
const renewAfterFraction = 2 / 3;

/** All in one file, so that key and certificate never differ after a crash. */
const credentialsSchema = z.strictObject({
  host: hostName,
  keyPem: z.string(),
  certificatePem: z.string(),
  authorityPem: z.string(),
  /** Where the agent link is. */
  linkHost: z.string(),
  linkPort: z.int().min(1).max(65_535),
});
export type Credentials = z.infer<typeof credentialsSchema>;

export class CredentialsError extends Error {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = 'CredentialsError';
  }
}

/** Null before the host is enrolled. Throws CredentialsError for a file that is not ours. */
export function readCredentials(directory: string): Credentials | null {
  const path = join(directory, fileName);
  if (!existsSync(path)) return null;
  try {
    return credentialsSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new CredentialsError(`${path} cannot be read; remove it and enrol again`, { cause });
  }
}

/** Refuses a certificate that is not of this key and host. Durable when it returns. */
export function writeCredentials(directory: string, credentials: Credentials): void {
  const fault = certificateFault(credentials);
  if (fault !== null) throw new CredentialsError(fault);
  const path = join(directory, fileName);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const temporary = `${path}.new`;
  const file = openSync(temporary, 'w', 0o600);
  try {
    writeSync(file, JSON.stringify(credentials, null, 2));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  const folder = openSync(dirname(path), 'r');
  fsyncSync(folder);
  closeSync(folder);
}

/** When a new certificate should be asked for. */
export function renewalMs({ certificatePem }: Credentials): number {
  const { validFromDate, validToDate } = new X509Certificate(certificatePem);
  const [from, to] = [validFromDate.getTime(), validToDate.getTime()];
  return from + (to - from) * renewAfterFraction;
}

function certificateFault({ host, keyPem, certificatePem, authorityPem }: Credentials): string | null {
  const certificate = new X509Certificate(certificatePem);
  const [name] = (certificate.subjectAltName ?? '').split(', ');
  if (!name?.startsWith('URI:') || hostOfSpiffeId(name.slice('URI:'.length)) !== host) {
    return `the certificate is not of host ${host}`;
  }
  const authorities = authorityPem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const isSigned = authorities.some((pem) => certificate.verify(new X509Certificate(pem).publicKey));
  if (!isSigned) return 'the certificate is not signed by the authority that came with it';
  return certificate.checkPrivateKey(createPrivateKey(keyPem))
    ? null
    : 'the certificate is not of the key that asked for it';
}
