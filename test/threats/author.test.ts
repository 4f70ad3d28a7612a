/** A policy author who writes any document: what is beyond the scope is refused whole, with its place, and nothing of it is in force. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { ApiClient } from '@bulkhead/protocol';
import { apiClient } from '../../packages/manager/src/testing/api-transport.ts';
import { attempts } from './attempts.ts';
import { closedPort, openPort, policy, segment, Stage } from './stage.ts';

let stage: Stage;
let author: ApiClient;

const toVault = { from: { segment: 'web' }, to: { segment: 'database' } };
const everyPort = { name: 'everything', action: 'allow' } as const;
const speaks = async (): Promise<readonly string[]> => {
  const address = stage.address('vault');
  return attempts(
    stage.host,
    'mallory',
    [openPort, closedPort].map((port) => ({ address, port })),
  );
};

function clientOf(token: string | null): ApiClient {
  const { directory } = stage.host;
  const authorityPem = readFileSync(join(directory, 'manager', 'ca.pem'), 'utf8');
  return apiClient({ socketPath: join(directory, 'api.sock'), authorityPem, token });
}

before(async () => {
  stage = await Stage.open();
  const body = { name: 'ann', role: 'author', scope: ['web'] };
  const created = (await stage.host.api('POST', '/v1/tokens', body)) as { readonly token: string };
  author = clientOf(created.token);
  assert.deepEqual(await speaks(), ['connected', 'timeout']);
});
after(() => stage?.[Symbol.asyncDispose]());

const beyond: readonly (readonly [what: string, document: unknown, path: RegExp])[] = [
  ['both ends of somebody else’s segment', policy('mine', { ...everyPort, ...toVault }), /^spec\.rules\[0\]\.to$/],
  ['everybody', policy('mine', { ...everyPort }), /^spec\.rules\[0\]\.(from|to)$/],
  [
    'everybody with a label',
    policy('mine', { ...everyPort, from: { segment: 'web' }, to: { selector: { matchLabels: { app: 'database' } } } }),
    /^spec\.rules\[0\]\.to$/,
  ],
  ['the far end only', policy('mine', { ...everyPort, ...toVault, applies: 'ingress' }), /^spec\.rules\[0\]\.to$/],
  ['a segment made wider', segment('web', 'database'), /^kind$/],
  [
    'a tier before all others',
    { apiVersion: 'bulkhead.dev/v1', kind: 'Tier', metadata: { name: 'mine' }, spec: { position: 0 } },
    /^kind$/,
  ],
  [
    'a tier that comes before those of applications',
    {
      apiVersion: 'bulkhead.dev/v1',
      kind: 'Policy',
      metadata: { name: 'mine' },
      spec: {
        tier: 'security',
        rules: [{ ...everyPort, from: { segment: 'web' }, to: { any: true }, applies: 'egress' }],
      },
    },
    /^spec\.tier$/,
  ],
  [
    'the policy of others',
    policy('floor', { ...everyPort, from: { segment: 'web' }, to: { segment: 'web' } }),
    /^spec\.rules/,
  ],
];

for (const [what, document, path] of beyond) {
  test(`refused: ${what}`, async () => {
    const within = policy('harmless', { ...everyPort, from: { segment: 'web' }, to: { segment: 'web' } });
    const result = await author.applyDocuments({ body: { documents: [{ value: within }, { value: document }] } });
    assert.notEqual(result.kind, 'ok');
    assert.ok(result.kind === 'error', JSON.stringify(result));
    const problems = result.error.problems ?? [];
    assert.ok(
      problems.some((problem) => path.test(problem.path)),
      JSON.stringify(result.error),
    );
    const listed = await clientOf(adminToken()).listDocuments({ query: { limit: 1000 } });
    assert.ok(listed.kind === 'ok');
    assert.ok(
      !listed.value.items.some(({ name }) => ['mine', 'harmless'].includes(name)),
      'nothing of the apply is taken',
    );
  });
}

function adminToken(): string {
  return readFileSync(join(stage.host.directory, 'manager', 'admin.token'), 'utf8').trim();
}

test('nor does the author delete others’ policies, give tokens, enrol hosts, approve, or switch off', async () => {
  const results = [
    await author.deleteDocument({ params: { kind: 'Policy', name: 'floor' } }),
    await author.setEnforcement({ body: { on: false, because: 'x' } }),
    await author.createEnrolmentToken({ body: { host: null } }),
    await author.createToken({ body: { name: 'eve', role: 'administrator' } }),
    await author.approveQuestion({ params: { id: 'h1:x:1' }, body: {} }),
    await author.exportAudit(),
  ];
  for (const result of results) assert.equal(result.kind, 'error');
});

test('what the author tried is nowhere in force; what is within the scope is', async () => {
  assert.deepEqual(await speaks(), ['connected', 'timeout']);
  const own = policy('own', {
    ...everyPort,
    from: { segment: 'web' },
    to: { segment: 'web' },
    ports: [{ protocol: 'tcp', port: 80 }],
  });
  const result = await author.applyDocuments({ body: { documents: [{ value: own }] } });
  assert.equal(result.kind, 'ok', JSON.stringify(result));
  await stage.host.listen('alice', 80);
  await stage.host.until('it is in force', async () => {
    const [outcome] = await attempts(stage.host, 'mallory', [{ address: stage.address('alice'), port: 80 }]);
    return outcome === 'connected';
  });
});
