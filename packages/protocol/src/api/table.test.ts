import assert from 'node:assert/strict';
import { test } from 'node:test';
import { permissions, rolePermissions, roles } from '../roles.ts';
import { createApiClient, requestOf } from './client.ts';
import { openApiDocument } from './openapi.ts';
import { apiRoutes } from './table.ts';
import type { Route } from './route.ts';
import type { ApiTransport, TransportRequest } from './client.ts';

const entries = Object.entries<Route>(apiRoutes);

test('every route is told apart by method and path, and its parameters are its path’s', () => {
  const shapes = entries.map(([, route]) => `${route.method} ${route.path.replace(/:[a-z]+/gi, ':')}`);
  assert.equal(new Set(shapes).size, shapes.length);
  for (const [name, route] of entries) {
    const inPath = [...route.path.matchAll(/:([a-z]+)/gi)].map((match) => match[1]);
    const declared = Object.keys((route.params as unknown as { shape?: object } | undefined)?.shape ?? {});
    assert.deepEqual(inPath, declared, name);
    assert.ok(route.path.startsWith('/v1/'), name);
    if (route.method === 'GET') assert.equal(route.body, undefined, name);
  }
});

test('every permission is given to somebody, and only public routes need none', () => {
  for (const permission of permissions)
    assert.ok(
      roles.some((role) => rolePermissions[role].has(permission)),
      permission,
    );
  assert.deepEqual(
    entries
      .filter(([, route]) => route.permission === 'public')
      .map(([name]) => name)
      .toSorted(),
    ['enrolHost', 'getAuthority'],
  );
});

test('nobody but the administrator both writes documents and answers questions', () => {
  for (const role of roles) {
    const both = rolePermissions[role].has('documents') && rolePermissions[role].has('answer');
    assert.equal(both, role === 'administrator', role);
  }
});

test('the OpenAPI document has every route, as JSON', () => {
  const document = JSON.parse(JSON.stringify(openApiDocument('0.1.0'))) as {
    openapi: string;
    paths: Record<
      string,
      Record<string, { operationId: string; parameters: { name: string; in: string; required: boolean }[] }>
    >;
  };
  assert.equal(document.openapi, '3.1.0');
  const operations = Object.values(document.paths).flatMap((path) => Object.values(path));
  assert.deepEqual(
    operations.map(({ operationId }) => operationId).toSorted(),
    entries.map(([name]) => name).toSorted(),
  );
  const getDocument = document.paths['/v1/documents/{kind}/{name}']?.['get'];
  assert.deepEqual(
    getDocument?.parameters.map(({ name, in: where, required }) => [name, where, required]),
    [
      ['kind', 'path', true],
      ['name', 'path', true],
      ['revision', 'query', false],
    ],
  );
});

test('the client makes paths and queries that cannot be broken out of, and reads answers', async () => {
  const requests: TransportRequest[] = [];
  const transport: ApiTransport = {
    async request(request) {
      requests.push(request);
      return request.path.startsWith('/v1/whoami')
        ? {
            status: 401,
            body: JSON.stringify({ error: { code: 'unauthenticated', what: 'a', where: '', why: 'b', do: 'c' } }),
          }
        : { status: 200, body: '{"kind":"x"}' };
    },
    async stream() {
      return {
        status: 200,
        lines: (async function* () {
          yield '{"id":1}';
          yield '';
          yield '{"id":2}';
        })(),
      };
    },
  };
  const client = createApiClient(transport);
  const got = await client.getDocument({ params: { kind: 'Policy', name: '../../x?y=#' } });
  assert.equal(got.kind, 'ok');
  assert.equal(requests[0]?.path, '/v1/documents/Policy/..%2F..%2Fx%3Fy%3D%23');
  await client.listFlows({ query: { port: 5432, verdict: 'deny', reason: 'a&b=c', cursor: undefined } });
  assert.equal(requests[1]?.path, '/v1/flows?port=5432&verdict=deny&reason=a%26b%3Dc');
  await client.applyDocuments({ query: { dryRun: true }, body: { documents: [{ value: { kind: 'Segment' } }] } });
  assert.equal(requests[2]?.body, '{"documents":[{"value":{"kind":"Segment"}}]}');
  const refused = await client.whoAmI();
  assert.ok(refused.kind === 'error' && refused.error.code === 'unauthenticated');
  const watched = await client.watchFlows({ query: { segment: 'web' } });
  assert.ok(watched.kind === 'ok');
  const seen: unknown[] = [];
  for await (const flow of watched.value) seen.push(flow);
  assert.deepEqual(seen, [{ id: 1 }, { id: 2 }]);
  assert.throws(() => requestOf(apiRoutes.getHost, {}), /host/);
});
