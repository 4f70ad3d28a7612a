/**
 * No window at the start, with the real agent and manager: a process that is in the namespace before it is attached sends SYNs and
 * datagrams in a tight loop; a capture at the destination sees none of what policy denies. Containers of an engine, 200 of them, are in
 * test/kernel/docker/start-window.test.ts; here namespaces are attached, in the same order of steps. The knockers are nice, so that on a
 * busy machine the agent gets its turn, and still knock many times a millisecond.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../engine/harness.ts';
import { arrived } from '../threats/raw-link.ts';
import { closedPort, openPort, Stage } from '../threats/stage.ts';

const starts = 24;
const foreverMs = 1_000_000_000;
const knockSource = fileURLToPath(new URL('../kernel/docker/knock/knock.c', import.meta.url));
let stage: Stage;
let work: string;
let knock: string;

before(async () => {
  stage = await Stage.open();
  work = mkdtempSync(join(tmpdir(), 'bhT-knock-'));
  knock = join(work, 'knock');
  await run('gcc', ['-O2', '-static', '-o', knock, knockSource]);
});
after(async () => {
  await stage?.[Symbol.asyncDispose]();
  rmSync(work, { recursive: true, force: true });
});

interface Seen {
  readonly open: number;
  readonly closed: number;
}
function seen(source: string): Seen {
  const ports = arrived(stage.link('vault')).flatMap((each) => (each.source === source ? [each.destinationPort] : []));
  return {
    open: ports.filter((port) => port === openPort).length,
    closed: ports.filter((port) => port === closedPort).length,
  };
}

/** A workload that knocks on both ports since before it has an interface, until its allowed knocks are heard or it is denied. */
async function start(name: string, app: string): Promise<Seen> {
  const { host } = stage;
  host.addNamespace(name);
  const vault = stage.address('vault');
  const knockers = [openPort, closedPort].map((port) =>
    host.spawn(name, 'nice', '-n', '19', knock, vault, String(port), String(foreverMs)),
  );
  arrived(stage.link('vault'));
  const address = await host.attach(name, { app });
  let open = 0;
  let closed = 0;
  await host.until(`${name} is judged`, async () => {
    const now = seen(address);
    open += now.open;
    closed += now.closed;
    const view = (await host.endpoints()).find((endpoint) => endpoint.name === name);
    const denied = view?.counters['denied'] ?? 0;
    return view?.state === 'governed' && denied > 0 && (app === 'nobody' || open > 0);
  });
  for (const child of knockers) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  const rest = seen(address);
  await host.command('detach', { name });
  return { open: open + rest.open, closed: closed + rest.closed };
}

test(`${starts} starts of what may knock on one port: never on the other`, async () => {
  for (let number = 0; number < starts; number += 1) {
    const { open, closed } = await start(`web${number}`, 'web');
    assert.ok(open > 0);
    assert.equal(closed, 0, `start ${number}`);
  }
});

test('labels that nobody has seen before: held, then denied, never let through', async () => {
  for (let number = 0; number < 4; number += 1) {
    assert.deepEqual(await start(`nobody${number}`, 'nobody'), { open: 0, closed: 0 }, `start ${number}`);
  }
});
