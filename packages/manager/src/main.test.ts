import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createPublicKey, verify } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { verifyAudit } from '@bulkhead/protocol';
import { sha256 } from './audit/audit-log.ts';
import { OptionError, readOptions } from './options.ts';
import { AgentClient, makeAgentKeys } from './testing/agent-client.ts';
import { apiClient } from './testing/api-transport.ts';
import type { ChildProcess } from 'node:child_process';
import type { AgentMessage, ApiClient } from '@bulkhead/protocol';

interface Running {
  readonly child: ChildProcess;
  readonly link: number;
  readonly api: number;
}

async function start(directory: string): Promise<Running> {
  const path = join(import.meta.dirname, 'main.ts');
  const child = spawn(process.execPath, [path, '--data', directory, '--link', '127.0.0.1:0', '--api', '127.0.0.1:0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  for await (const line of createInterface({ input: child.stderr! })) {
    const { msg, link, api } = JSON.parse(line) as { msg: string; link: number; api: number };
    if (msg === 'manager is up') return { child, link, api };
  }
  throw new Error('the manager did not come up');
}

function adminOf(directory: string, running: Running): ApiClient {
  const token = readFileSync(join(directory, 'admin.token'), 'utf8').trim();
  return apiClient({ port: running.api, authorityPem: readFileSync(join(directory, 'ca.pem'), 'utf8'), token });
}

const segment = (name: string) => ({
  value: {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Segment',
    metadata: { name },
    spec: { selector: { matchLabels: { app: name } } },
  },
});

const flow = (id: string) => {
  const party = { workload: null, identity: 2, address: '192.0.2.1', port: 1 };
  return {
    id,
    source: party,
    destination: party,
    protocol: 6,
    verdict: 'deny' as const,
    egressReason: 'builtin:no-segment',
    ingressReason: 'builtin:no-segment',
    dropReason: null,
    question: null,
    staged: null,
    revision: 1,
    firstMs: Date.now(),
    lastMs: Date.now(),
    packets: [1, 0] as [number, number],
    bytes: [60, 0] as [number, number],
    state: 'closed' as const,
  };
};

test(
  'kill -9 in the middle of its work: what was acknowledged is there, the audit log holds, agents go on',
  { timeout: 120_000 },
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'bulkhead-main-'));
    let running = await start(directory);
    try {
      const acknowledged: string[] = [];
      let admin = adminOf(directory, running);
      const created = await admin.createEnrolmentToken({ body: { host: 'h1' } });
      assert.ok(created.kind === 'ok');
      const [, id, secret] = created.value.token.split('.');
      const { keyPem, request } = await makeAgentKeys('h1');
      const enrolled = await admin.enrolHost({ body: { host: 'h1', token: { id: id!, secret: secret! }, request } });
      assert.ok(enrolled.kind === 'ok');
      const credentials = {
        keyPem,
        certificatePem: enrolled.value.certificate,
        authorityPem: enrolled.value.authorities,
      };
      const batch = (number: number): AgentMessage => ({
        type: 'flows',
        body: { batch: number, lost: 0, flows: [flow(`f${number}`)] },
      });

      const agent = await AgentClient.connect(running.link, credentials);
      agent.hello('h1');
      agent.send(batch(1));
      await agent.next('ack', (ack) => ack.batch === 1);
      const applies = (async () => {
        for (let i = 0; ; i += 1) {
          const applied = await admin.applyDocuments({ body: { documents: [segment(`s${i}`)] } }).catch(() => null);
          if (applied?.kind !== 'ok') return;
          acknowledged.push(`s${i}`);
          if (i === 20) running.child.kill('SIGKILL');
        }
      })();
      agent.send(batch(2));
      await applies;
      await agent.untilClosed();

      running = await start(directory);
      admin = adminOf(directory, running);
      const listed = await admin.listDocuments({ query: { limit: 1000 } });
      assert.ok(listed.kind === 'ok');
      const names = new Set(listed.value.items.map((item) => item.name));
      for (const name of acknowledged) assert.ok(names.has(name), name);

      await using again = await AgentClient.connect(running.link, credentials);
      again.hello('h1', { revision: agent.all('desired').at(-1)!.revision });
      for (const number of [1, 2, 3]) again.send(batch(number));
      await again.next('ack', (ack) => ack.batch === 3);
      const flows = await admin.listFlows({ query: { sort: 'oldest' } });
      assert.ok(flows.kind === 'ok');
      assert.deepEqual(flows.value.items.map((item) => item.id).toSorted(), ['f1', 'f2', 'f3']);

      const head = await admin.getAuditHead();
      assert.ok(head.kind === 'ok');
      const exported = await admin.exportAudit();
      assert.ok(exported.kind === 'ok');
      const lines: string[] = [];
      for await (const line of exported.value) lines.push(JSON.stringify(line));
      const key = createPublicKey(head.value.publicKey);
      const signatureHolds = (text: string, signature: string) =>
        verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64'));
      const verdict = verifyAudit(lines, { sha256, signatureHolds });
      assert.equal(verdict.kind, 'intact', JSON.stringify(verdict));
      const told = lines.filter((line) => line.includes('"documents.changed"')).length;
      assert.equal(told, names.size, 'every change has its line, that of the crash included');

      const exit = once(running.child, 'exit');
      running.child.kill('SIGTERM');
      assert.deepEqual(await exit, [0, null]);
    } finally {
      running.child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

test('options: flags before environment before file, and faults by their place', () => {
  const file = JSON.stringify({ data: '/from-file', api: '0.0.0.0:1', names: ['a', 'b'] });
  const options = readOptions({ link: '[::1]:9' }, { BULKHEAD_MANAGER_API: 'host:2' }, file);
  assert.deepEqual(options, {
    dataDirectory: '/from-file',
    link: { address: '::1', port: 9 },
    api: { address: 'host', port: 2 },
    socket: 'default',
    names: ['a', 'b'],
    logLevel: 'info',
  });
  assert.equal(readOptions({ socket: 'none' }, {}, null).socket, null);
  const faults: readonly (readonly [() => unknown, RegExp])[] = [
    [() => readOptions({ api: '1.2.3.4' }, {}, null), /^--api: /],
    [() => readOptions({ api: '1.2.3.4:99999' }, {}, null), /^--api: /],
    [() => readOptions({}, { BULKHEAD_MANAGER_LOG: 'loud' }, null), /^BULKHEAD_MANAGER_LOG: /],
    [() => readOptions({}, {}, '{"dta": 1}'), /^config dta: /],
    [() => readOptions({}, {}, '{"data": 1}'), /^config data: /],
    [() => readOptions({}, {}, '{"names": "x"}'), /^config names: /],
    [() => readOptions({}, {}, '['), /^config: /],
  ];
  for (const [read, message] of faults)
    assert.throws(read, (error) => error instanceof OptionError && message.test(error.message));
});

test(
  'in a directory that everybody may enter, nobody else reads anything but the certificate',
  { timeout: 60_000 },
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'bulkhead-main-'));
    chmodSync(directory, 0o755);
    const running = await start(directory);
    try {
      const open = readdirSync(directory).filter((name) => (statSync(join(directory, name)).mode & 0o077) !== 0);
      assert.deepEqual(open, ['ca.pem']);
    } finally {
      running.child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    }
  },
);
