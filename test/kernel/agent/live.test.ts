/** Connections that exist when a rule changes, over real sockets, the real agent and manager: kept, judged, reset. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { GovernedHost } from './governed-host.ts';

const port = 5432;
let host: GovernedHost;

const segment = (name: string) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Segment',
  metadata: { name },
  spec: { selector: { matchLabels: { app: name } }, posture: { ingress: 'reject' } },
});
const policy = (name: string, action: string, live?: string) => ({
  apiVersion: 'bulkhead.dev/v1',
  kind: 'Policy',
  metadata: { name: 'p' },
  spec: {
    rules: [
      {
        name,
        action,
        from: { segment: 'web' },
        to: { segment: 'database' },
        ports: [{ protocol: 'tcp', port }],
        ...(live === undefined ? {} : { live }),
      },
    ],
  },
});

before(async () => {
  host = await GovernedHost.start();
  await host.attach('a', { app: 'web' });
  await host.attach('b', { app: 'database' });
  await host.listen('b', port);
  await host.apply(segment('web'), segment('database'), policy('open', 'allow'));
});
after(() => host[Symbol.asyncDispose]());

/** A connection that says something at each call: what came back, or how the connection ended. */
async function connected(): Promise<() => Promise<string>> {
  const script = `
    const socket = require('node:net').connect(${port}, ${JSON.stringify(host.addressOf('b'))}, () => console.log('open'));
    socket.on('data', (data) => console.log('echo ' + data));
    socket.on('error', (error) => console.log(error.code));
    process.stdin.on('data', () => socket.write('hello'));`;
  const child = host.spawn('a', process.execPath, '-e', script);
  const next = async (): Promise<string> => String(((await once(child.stdout!, 'data')) as [Buffer])[0]).trim();
  assert.equal(await next(), 'open');
  return async () => {
    const answer = next();
    child.stdin!.write('x');
    return answer;
  };
}

test('kept over rules that deny what is new, until one resets it', async () => {
  const say = await connected();
  assert.equal(await say(), 'echo hello');
  await host.apply(policy('closing', 'reject', 'keep'));
  assert.equal(await say(), 'echo hello');
  assert.equal(await host.connect('a', 'b', port), 'refused');
  await host.apply(policy('closing-too', 'deny', 'keep'));
  assert.equal(await say(), 'echo hello');
  await host.apply(policy('open-again', 'allow', 'reset'));
  assert.equal(await say(), 'ECONNRESET');
  assert.equal(await host.connect('a', 'b', port), 'connected');
  await host.until('the flow that the rule ended', async () => {
    const flows = await host.flows();
    return flows.some(
      ({ dropReason, verdict, egressReason }) =>
        dropReason === 'live_reset' && verdict === 'reject' && egressReason === 'application/p/open-again',
    );
  });
});

test('judged where a rule says no more', async () => {
  const say = await connected();
  assert.equal(await say(), 'echo hello');
  await host.apply(policy('closed', 'reject'));
  assert.equal(await say(), 'ECONNRESET');
});
