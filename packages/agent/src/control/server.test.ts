import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { ControlServer } from './server.ts';

test('a target that is no path is answered like any other that is not there', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-control-'));
  const path = join(directory, 'agent.sock');
  try {
    await using server = await ControlServer.listen({
      ...{ path, log: pino({ level: 'silent' }), views: {}, commands: () => new Map() },
      metrics: () => Promise.resolve(''),
    });
    assert.ok(server);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    for (const target of ['//', '/%', '/v1/__proto__', '*', 'http://[/']) {
      const socket = connect(path);
      socket.end(`GET ${target} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n`);
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      assert.match(chunk.toString(), /^HTTP\/1\.1 40[04] /, target);
      socket.destroy();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
