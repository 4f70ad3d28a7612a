import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { apiErrorBody, apiRoutes, requestOf, rolePermissions, roles } from '@bulkhead/protocol';
import { managerFixture } from '../testing/manager-fixture.ts';
import { apiTransport } from '../testing/api-transport.ts';
import { workloadReport } from '../testing/link-fixture.ts';
import { makeAgentKeys } from '../testing/agent-client.ts';
import type { Role, Route, RouteName } from '@bulkhead/protocol';
import type { ManagerFixture } from '../testing/manager-fixture.ts';

interface Input {
  readonly params?: Record<string, string>;
  readonly query?: Record<string, unknown>;
  readonly body?: unknown;
}

const segment = (name: string) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Segment',
  metadata: { name },
  spec: { selector: { matchLabels: { app: name } } },
});
const inScopePolicy = {
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Policy',
  metadata: { name: 'web-out' },
  spec: { rules: [{ name: 'dns', action: 'allow', applies: 'egress', from: { segment: 'web' }, to: { any: true } }] },
};

/** A request for each route that is well formed, whether or not what it names exists. The compiler wants one for every route. */
const samples: Record<RouteName, Input> = {
  applyDocuments: { query: { dryRun: true }, body: { documents: [{ value: inScopePolicy }] } },
  listDocuments: {},
  getDocument: { params: { kind: 'Segment', name: 'web' } },
  deleteDocument: { params: { kind: 'Policy', name: 'none' } },
  diffDocuments: { body: { documents: [{ value: inScopePolicy }] } },
  explain: { body: { source: { workload: 'h1/docker/web' }, destination: { workload: 'h1/docker/db' } } },
  getSchema: { query: { kind: 'Segment' } },
  diffMeaning: { body: { documents: [{ value: inScopePolicy }] } },
  simulate: { body: { documents: [{ value: inScopePolicy }], sinceMs: 0 } },
  prove: { body: {} },
  recommend: { body: { sinceMs: 0 } },
  listWorkloads: {},
  getWorkload: { params: { workload: 'h1/docker/web' } },
  adoptWorkload: { params: { workload: 'h1/docker/web' }, body: { mode: 'release' } },
  listIdentities: {},
  listHosts: {},
  getHost: { params: { host: 'h1' } },
  revokeHost: { params: { host: 'nobody' }, body: { because: 'test' } },
  createEnrolmentToken: { body: { host: 'h7' } },
  listEnrolmentTokens: {},
  revokeEnrolmentToken: { params: { id: 'none' } },
  getAuthority: {},
  enrolHost: { body: { host: 'h8', token: { id: 'x', secret: 'y' }, request: 'z' } },
  listFlows: {},
  getFlow: { params: { id: 'none' } },
  explainFlow: { params: { id: 'none' } },
  watchFlows: {},
  listQuestions: {},
  watchQuestions: {},
  getQuestion: { params: { id: 'none' } },
  approveQuestion: { params: { id: 'none' }, body: {} },
  refuseQuestion: { params: { id: 'none' } },
  listDivergences: {},
  getStatus: {},
  whoAmI: {},
  listRevisions: {},
  getReceipts: { params: { revision: '1' } },
  setEnforcement: { body: { on: true, because: 'test' } },
  createToken: { body: { name: 'walker', role: 'viewer', forSeconds: 60 } },
  listTokens: {},
  revokeToken: { params: { id: 'none' } },
  listAudit: {},
  exportAudit: {},
  getAuditHead: {},
};

suite('every route, every role, every reach', () => {
  let fixture: ManagerFixture;
  before(async () => {
    fixture = await managerFixture();
    const { core } = fixture.manager;
    const { admin } = fixture;
    const applied = await admin.applyDocuments({
      body: { documents: [{ value: segment('web') }, { value: segment('db') }] },
    });
    assert.equal(applied.kind, 'ok', JSON.stringify(applied));
    const created = await core.enrolment.createToken('person/test', { host: 'h1', labelsAllowed: null, forMs: 60_000 });
    const { request } = await makeAgentKeys('h1');
    await core.enrolment.enrol('h1', { id: created!.token.id, secret: created!.secret }, request);
    const set = ['web', 'db'].map((app) => workloadReport(`h1/docker/${app}`, { labels: { app } }));
    await core.inventory.report('h1', { full: true, set, removed: [] });
  });
  after(() => fixture[Symbol.asyncDispose]());

  async function call(
    name: RouteName,
    token: string | null,
  ): Promise<{ status: number; code: string | null; value: unknown }> {
    const route: Route = apiRoutes[name];
    const transport = apiTransport(fixture.address(token));
    const request = requestOf(route, samples[name]);
    if (route.stream !== true) {
      const { status, body } = await transport.request(request);
      const value = JSON.parse(body) as unknown;
      const error = apiErrorBody.safeParse(value);
      assert.equal(error.success, status >= 400, `${name}: ${body}`);
      return { status, code: error.success ? error.data.error.code : null, value };
    }
    const { status, lines, close } = await transport.stream(request);
    // These go on until their reader leaves.
    if (status === 200 && name !== 'exportAudit') {
      close();
      return { status, code: null, value: null };
    }
    let body = '';
    for await (const line of lines) body = line;
    const error = apiErrorBody.safeParse(JSON.parse(body));
    return { status, code: error.success ? error.data.error.code : null, value: JSON.parse(body) };
  }

  const names = Object.keys(apiRoutes) as RouteName[];

  for (const role of roles) {
    for (const scope of [null, ['web']] as const) {
      test(`${role}, ${scope === null ? 'whole cluster' : `scope ${scope.join()}`}`, async () => {
        const token = await fixture.token(role, scope);
        for (const name of names) {
          const route: Route = apiRoutes[name];
          const expected = expectedCode(route, role, scope);
          const { status, code, value } = await call(name, token);
          if (expected !== null) {
            assert.deepEqual([status, code], [403, expected], name);
            continue;
          }
          assert.ok(status !== 403, `${name} is for ${role}: ${JSON.stringify(value)}`);
          if (route.permission !== 'public') assert.ok(status !== 401 && status !== 429, name);
          if (status === 200 && value !== null) {
            const parsed = route.response.safeParse(value);
            assert.ok(
              parsed.success,
              `${name} answers as its schema says: ${parsed.error?.message} ${JSON.stringify(value)}`,
            );
          }
        }
      });
    }
  }

  test('without a token, and with wrong ones: nothing but the public routes', async () => {
    const valid = await fixture.token('administrator');
    const wrong = `${valid.slice(0, -4)}AAAA`;
    for (const token of [null, wrong, 'bhp.', 'x'.repeat(5000)]) {
      for (const name of names) {
        const { status } = await call(name, token);
        if (apiRoutes[name].permission === 'public') assert.ok(status !== 429, name);
        else assert.ok(status === 401 || status === 429, `${name}: ${status}`);
      }
    }
    assert.equal(
      (await call('whoAmI', valid)).status,
      200,
      'a valid token is answered although its address failed often',
    );
    const lines = await fixture.manager.core.audit.read(1, 1000);
    const failures = lines.filter((line) => line.action === 'login.failed').length;
    assert.ok(failures >= 1 && failures <= 20, `${failures} failures in the log`);
  });

  test('a scope shows its own and hides the rest', async () => {
    const token = await fixture.token('viewer', ['web']);
    const workloads = (await call('listWorkloads', token)).value as { items: { workload: string }[]; total: number };
    assert.deepEqual(
      workloads.items.map(({ workload }) => workload),
      ['h1/docker/web'],
    );
    assert.equal(workloads.total, 1);
    const documents = (await call('listDocuments', token)).value as { items: { name: string }[] };
    assert.deepEqual(
      documents.items.map(({ name }) => name),
      ['web'],
    );
    const identities = (await call('listIdentities', token)).value as { items: { labels: unknown }[] };
    assert.deepEqual(
      identities.items.map(({ labels }) => labels),
      [{ app: 'web' }],
    );
    const status = (await call('getStatus', token)).value as { workloads: number; hosts: unknown; audit: unknown };
    assert.deepEqual([status.workloads, status.hosts, status.audit], [1, null, null]);
    const other = await fixture.token('viewer', ['elsewhere']);
    assert.equal((await call('getWorkload', other)).status, 404);
    assert.equal((await call('getDocument', other)).status, 404);
    assert.equal((await call('explain', other)).code, 'out-of-scope');
  });

  test('a revoked token and one that has ended open nothing', async () => {
    const { people } = fixture.manager;
    const created = await people.create('person/test', { name: 'brief', role: 'viewer', scope: null, forMs: 1 });
    assert.ok(created.kind === 'created');
    while (Date.now() <= created.token.expiresMs!) await new Promise(setImmediate);
    assert.notEqual((await call('whoAmI', created.text)).status, 200);
    const token = await fixture.token('viewer');
    assert.equal((await call('whoAmI', token)).status, 200);
    assert.equal(await people.revoke('person/test', token.split('.')[1]!), 'revoked');
    assert.notEqual((await call('whoAmI', token)).status, 200);
  });
});

/** What the design wants, said once more and independently of the server. */
function expectedCode(route: Route, role: Role, scope: readonly string[] | null): 'forbidden' | 'out-of-scope' | null {
  if (route.permission === 'public') return null;
  if (!rolePermissions[role].has(route.permission)) return 'forbidden';
  return route.reach === 'cluster' && scope !== null ? 'out-of-scope' : null;
}
