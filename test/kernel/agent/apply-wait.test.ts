/** `bulkhead apply --wait` against a real agent: what it measured, and what is said when it is late. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GovernedHost } from './governed-host.ts';

const bulkhead = fileURLToPath(new URL('../../../packages/cli/bulkhead', import.meta.url));
let host: GovernedHost;

before(async () => {
  host = await GovernedHost.start({ prefix: 'bhW' });
  await host.attach('a', { app: 'web' });
});
after(() => host[Symbol.asyncDispose]());

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Applies a segment of that posture. */
function apply(posture: string, ...more: readonly string[]): Promise<Ended> {
  const file = join(host.directory, 'segment.json');
  const spec = { selector: { matchLabels: { app: 'web' } }, posture: { egress: posture } };
  writeFileSync(
    file,
    JSON.stringify({ apiVersion: 'bulkhead.dev/v1', kind: 'Segment', metadata: { name: 'web' }, spec }),
  );
  const env = {
    PATH: process.env['PATH'],
    HOME: host.directory,
    BULKHEAD_SERVER: `unix://${join(host.directory, 'api.sock')}`,
    BULKHEAD_TOKEN_FILE: join(host.directory, 'manager', 'admin.token'),
    BULKHEAD_CA_FILE: join(host.directory, 'manager', 'ca.pem'),
  };
  return new Promise((resolve) => {
    execFile(bulkhead, ['apply', '-f', file, ...more], { env, timeout: 60_000 }, (error, out, err) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, out, err });
    });
  });
}

test('returns when the host enforces it, with its measured latency', async () => {
  const ended = await apply('allow', '--wait');
  assert.equal(ended.code, 0, ended.err);
  assert.match(ended.err, /h1 +enforced in [0-9.]+ (ms|s)/);
  assert.match(ended.err, /enforced on 1 host/);
  const value = JSON.parse((await apply('deny', '--wait', '-o', 'json')).out) as {
    readonly revision: number;
    readonly receipts: readonly { readonly host: string; readonly revision: number; readonly enforcedMs: number }[];
  };
  const [receipt] = value.receipts;
  assert.ok(receipt !== undefined && receipt.host === 'h1' && receipt.enforcedMs > 0, JSON.stringify(value));
  assert.ok(receipt.revision >= value.revision);
});

test('a host that is late is named, with exit code 8; the change goes on being rolled out', async () => {
  const agent = host.pidOf('agent');
  process.kill(agent, 'SIGSTOP');
  try {
    const ended = await apply('reject', '--wait', '1s');
    assert.equal(ended.code, 8, ended.err);
    assert.match(ended.err, /h1: is at revision \d+/);
  } finally {
    process.kill(agent, 'SIGCONT');
  }
  assert.equal((await apply('reject', '--wait')).code, 0);
});
