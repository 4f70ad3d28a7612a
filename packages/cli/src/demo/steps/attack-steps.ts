/** What a container that has been broken into tries, and what comes in from outside. */
import { connectWith, sweepFrom } from '../attempt.ts';
import { run } from '../command.ts';
import { declare, declareEnding, declareFlow, showAttempt, showFlow, type Step } from '../step.ts';
import { hostAddress, visitorAddress } from '../outside.ts';
import { captureIn, waitForFlow } from '../witness.ts';

const sweepPorts = [21, 22, 80, 443, 5432, 6379, 8080, 8443] as const;
const forgedPackets = 50;

export const scanned: Step = {
  title: 'A compromised container scans',
  story:
    'The intern is root in its container, with raw sockets. It tries every address of the network on eight ports, at once.',
  async run({ engine, api, subnet, addressOf }, show) {
    const sinceMs = Date.now();
    show({ kind: 'tried', text: `in container intern: sweep ${subnet}, ports ${sweepPorts.join(' ')}` });
    const sweep = await sweepFrom(engine, 'intern', { cidr: subnet, ports: sweepPorts, timeoutMs: 2500 });
    // Its own address is answered by its own kernel, without a packet on the wire.
    const answers = sweep.answers.filter((line) => !line.includes(` ${addressOf('intern')}:`));
    const text = `${sweep.tried} attempts: ${answers.length} answers but from itself, the rest silence`;
    show({ kind: 'returned', text, tone: answers.length === 0 ? 'good' : 'bad' });
    const flow = await waitForFlow(api, { from: 'intern', to: 'orders-db', port: 5432, sinceMs });
    showFlow(show, flow);
    declare(show, 'nothing answers', answers.length === 0, answers.join(', '));
    declareFlow(show, flow, 'deny', 'posture:interns');
  },
};

export const spoofed: Step = {
  title: 'A compromised container forges packets',
  story:
    'It forges connection attempts that claim to come from the trading desk. Who sends is told by the interface, never by the packet, so they end at the first program.',
  async run({ engine, api, addressOf }, show) {
    const sinceMs = Date.now();
    const [desk, database] = [addressOf('desk'), addressOf('orders-db')];
    const capture = await captureIn(
      engine,
      'orders-db',
      `src host ${desk} and tcp dst port 5432 and tcp[tcpflags] & tcp-syn != 0 and src portrange 20000-20999`,
    );
    show({
      kind: 'tried',
      text: `in container intern: ${forgedPackets} raw SYNs from ${desk} (the desk) to ${database}:5432`,
    });
    const sent = await engine.docker('exec', 'intern', 'probe', 'forge', desk, database, '5432', String(forgedPackets));
    const flow = await waitForFlow(
      api,
      { from: 'intern', to: 'orders-db', sinceMs },
      (each) => each.dropReason !== null,
    );
    const arrived = await capture.stop();
    show({
      kind: 'returned',
      text: `the kernel of the container: ${sent}; tcpdump inside orders-db: ${arrived.length} arrived`,
      tone: arrived.length === 0 ? 'good' : 'bad',
    });
    showFlow(show, flow);
    declare(show, 'none arrives', arrived.length === 0, arrived.slice(0, 3).join('; '));
    declare(show, 'they were all sent', sent.startsWith(`sent ${forgedPackets},`), sent);
    declare(show, 'recorded as spoofed', flow?.dropReason === 'spoofed', flow?.dropReason ?? 'no flow');
  },
};

export const published: Step = {
  title: 'From outside, through published ports',
  story: 'Two containers publish a port. Visitors may see the web page; payments is published too, and stays closed.',
  async run({ api, outside, probe }, show) {
    const sinceMs = Date.now();
    const open = await connectWith(outside.command(probe), { host: hostAddress, port: 8080 });
    showAttempt(show, `a visitor on the LAN: connect to ${hostAddress}:8080, published by web`, open);
    const flow = await waitForFlow(api, { from: visitorAddress, to: 'web', sinceMs });
    showFlow(show, flow);
    const url = `http://${hostAddress}:8080/cgi-bin/orders`;
    const [executable, ...rest] = outside.command('busybox', 'wget', '-q', '-O', '-', url);
    const page = await run(executable, rest);
    const [heading = '', newest = ''] = page.split('\n');
    show({ kind: 'tried', text: `and the page itself, which web has from desk and desk from PostgreSQL: ${url}` });
    show({ kind: 'returned', text: newest, tone: heading.startsWith('id,side') ? 'good' : 'bad' });
    const closed = await connectWith(outside.command(probe), { host: hostAddress, port: 8443 });
    showAttempt(show, `a visitor on the LAN: connect to ${hostAddress}:8443, published by payments`, closed);
    const denied = await waitForFlow(api, { from: visitorAddress, to: 'payments', sinceMs });
    showFlow(show, denied);
    declareEnding(show, 'connected', open);
    declare(show, 'the page shows the last orders', heading.startsWith('id,side') && newest !== '', page);
    declareFlow(show, flow, 'allow', 'application/floor/visitors-to-web');
    declareEnding(show, 'timed-out', closed);
    declareFlow(show, denied, 'deny', 'posture:payments');
  },
};
