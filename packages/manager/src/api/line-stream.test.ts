import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { apiTransport } from '../testing/api-transport.ts';
import { managerFixture } from '../testing/manager-fixture.ts';

test('an export that is larger than all buffers reaches a slow reader whole', async () => {
  await using fixture = await managerFixture();
  const { audit } = fixture.manager.core;
  const details = { filling: 'x'.repeat(40_000) };
  for (let i = 0; i < 600; i += 1)
    await audit.record({ actor: 'person/test', action: 'filled', subject: `s${i}`, details });
  const transport = apiTransport(fixture.address(await fixture.token('administrator')));
  const { lines } = await transport.stream({ method: 'GET', path: '/v1/audit/export', body: null });
  let read = 0;
  let last = '';
  for await (const line of lines) {
    // As slow as the manager is fast: it must wait for the reader, and not the other way round.
    if (read % 20 === 0) for (let turns = 0; turns < 20; turns += 1) await turn();
    if (line === '') continue;
    read += 1;
    last = line;
  }
  assert.ok('head' in (JSON.parse(last) as object), last.slice(0, 100));
  assert.ok(read > 600, `${read} lines`);
});

test('a watch that the store refuses is an error, not a stream that stays silent', async () => {
  await using fixture = await managerFixture();
  fixture.flows.refuseWatchers();
  const transport = apiTransport(fixture.address(await fixture.token('viewer')));
  const { status, lines } = await transport.stream({ method: 'GET', path: '/v1/flows/watch', body: null });
  let body = '';
  for await (const line of lines) body += line;
  assert.equal(status, 503, body);
  assert.equal((JSON.parse(body) as { error: { code: string } }).error.code, 'busy');
});

test('a burst that is larger than what may wait for a slow reader reaches a quick one whole', async () => {
  await using fixture = await managerFixture();
  const transport = apiTransport(fixture.address(await fixture.token('viewer')));
  const stream = await transport.stream({ method: 'GET', path: '/v1/flows/watch', body: null });
  await fixture.flows.watching(1);
  const count = 20_000;
  for (let i = 0; i < count; i += 1) fixture.flows.show('h1', `f${i}`);
  let read = 0;
  for await (const line of stream.lines) {
    if (line !== '') read += 1;
    if (read === count) break;
  }
  assert.equal(read, count);
});

test('a reader who takes nothing is cut off before what waits grows without end', async () => {
  await using fixture = await managerFixture();
  const transport = apiTransport(fixture.address(await fixture.token('viewer')));
  const stream = await transport.stream({ method: 'GET', path: '/v1/flows/watch', body: null });
  await fixture.flows.watching(1);
  for (let i = 0; i < 150_000; i += 1) fixture.flows.show('h1', `f${i}`);
  await fixture.flows.watching(0);
  stream.close();
});
