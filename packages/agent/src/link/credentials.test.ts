import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as x509 from '@peculiar/x509';
import { hostSpiffeId } from '@bulkhead/protocol';
import { newRequest } from './certificate-request.ts';
import { readCredentials, renewalMs, writeCredentials, type Credentials } from './credentials.ts';

x509.cryptoProvider.set(webcrypto as Crypto);
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const;

async function issued(host: string, request = newRequest(host)): Promise<Credentials> {
  const keys = (await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
  const validity = { notBefore: new Date(1_000_000_000_000), notAfter: new Date(1_000_000_300_000) };
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    ...{ name: 'CN=authority', keys, signingAlgorithm },
    ...validity,
  });
  const certificate = await x509.X509CertificateGenerator.create({
    ...{ subject: `CN=${host}`, issuer: authority.subject, signingKey: keys.privateKey, signingAlgorithm },
    ...validity,
    publicKey: new x509.Pkcs10CertificateRequest(request.requestPem).publicKey,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: hostSpiffeId(host) }])],
  });
  return {
    ...{
      host,
      keyPem: request.keyPem,
      certificatePem: certificate.toString('pem'),
      authorityPem: authority.toString('pem'),
    },
    ...{ linkHost: '127.0.0.1', linkPort: 7443 },
  };
}

test('a request is of its key, signed by it, and says the host, however long its name is', async () => {
  for (const host of ['h1', 'a'.repeat(63), `${'x'.repeat(60)}.y`]) {
    const { keyPem, requestPem } = newRequest(host);
    const request = new x509.Pkcs10CertificateRequest(requestPem);
    assert.equal(await request.verify(), true);
    assert.equal(request.subject, `CN=${host}`);
    const spki = createPublicKey(createPrivateKey(keyPem)).export({ type: 'spki', format: 'der' });
    assert.deepEqual(Buffer.from(request.publicKey.rawData), spki);
  }
});

test('credentials are kept for root alone, and only where key, certificate, host and authority belong together', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-credentials-'));
  try {
    assert.equal(readCredentials(directory), null);
    const good = await issued('h1');
    writeCredentials(directory, good);
    assert.deepEqual(readCredentials(directory), good);
    assert.equal(statSync(join(directory, 'credentials.json')).mode & 0o777, 0o600);
    const other = await issued('h2');
    const wrong: readonly Partial<Credentials>[] = [
      { host: 'h2' },
      { keyPem: other.keyPem },
      { certificatePem: other.certificatePem },
      { authorityPem: other.authorityPem },
    ];
    for (const part of wrong)
      assert.throws(() => writeCredentials(directory, { ...good, ...part }), { name: 'CredentialsError' });
    assert.deepEqual(
      JSON.parse(readFileSync(join(directory, 'credentials.json'), 'utf8')),
      good,
      'nothing was overwritten',
    );
    assert.equal(renewalMs(good), 1_000_000_200_000);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
