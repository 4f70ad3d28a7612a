/**
 * A host with 1,000 endpoints, attached through the agent's control socket, beside a manager: what the agent's memory is, and how long a
 * changed policy takes until the manager has the receipt. Attaching is set-up and is not part of a figure.
 */
import process from 'node:process';
import { measured, percentile, type BenchOptions, type Figure } from '../contract.ts';
import { GovernedHost } from '../host/governed-host.ts';

const endpoints = 1_000;
const applications = 50;
const rulesPerPolicy = 10;
/** Attachments under way at one time. */
const attaching = 16;
const changesWarmUp = 5;
const namespacesPerBatch = 100;

const nameOf = (application: number): string => `app-${application % applications}`;

function segment(name: string, labels: Readonly<Record<string, string>>): unknown {
  return {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Segment',
    metadata: { name },
    spec: { selector: { matchLabels: labels } },
  };
}

function policy(name: string, rules: readonly unknown[]): unknown {
  return {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Policy',
    metadata: { name },
    spec: { tier: 'application', rules },
  };
}

/** Each application may reach ten others; everybody may reach the first one. */
function documents(): readonly unknown[] {
  const all = Array.from({ length: applications }, (_, application) => application);
  const reaching = all.map((application) =>
    policy(
      `from-${nameOf(application)}`,
      Array.from({ length: rulesPerPolicy }, (_, place) => ({
        name: `rule-${place}`,
        action: 'allow',
        from: { segment: nameOf(application) },
        to: { segment: nameOf(application + place + 1) },
        ports: [{ protocol: 'tcp', port: 1000 + place }],
      })),
    ),
  );
  const segments = all.map((application) => segment(nameOf(application), { app: nameOf(application) }));
  return [segment('everybody', { fleet: 'bench' }), ...segments, ...reaching, shared(0)];
}

/** One rule that concerns all endpoints, another with each number. */
function shared(change: number): unknown {
  return policy('shared', [
    {
      name: 'everybody',
      action: 'allow',
      from: { segment: 'everybody' },
      to: { segment: nameOf(0) },
      ports: [{ protocol: 'tcp', port: 2000 + change }],
    },
  ]);
}

async function attachAll(host: GovernedHost): Promise<void> {
  const workloads = Array.from({ length: endpoints }, (_, place) => ({ name: `w${place}`, place }));
  for (let at = 0; at < endpoints; at += namespacesPerBatch)
    await host.addNamespaces(workloads.slice(at, at + namespacesPerBatch).map(({ name }) => host.namespaceOf(name)));
  const waiting = workloads.values();
  const lane = async (): Promise<void> => {
    for (const { name, place } of waiting)
      await host.attach(name, { fleet: 'bench', app: nameOf(place), instance: String(place) });
  };
  await Promise.all(Array.from({ length: attaching }, lane));
}

export async function fleetFigures(options: BenchOptions): Promise<Figure[]> {
  const changes = options.quick ? 60 : 300;
  await using host = await GovernedHost.start('fleet', options);
  const start = performance.now();
  await attachAll(host);
  const setUpSeconds = (performance.now() - start) / 1000;
  process.stderr.write(`${endpoints} endpoints attached in ${setUpSeconds.toFixed(1)} s\n`);
  await host.apply(documents());
  for (let change = 1; change <= changesWarmUp; change++) await host.apply([shared(change)]);
  host.beginProfiles();
  const times: number[] = [];
  for (let change = 1; change <= changes; change++) {
    const at = performance.now();
    await host.apply([shared(changesWarmUp + change)]);
    times.push(performance.now() - at);
  }
  const { endpoints: attached, rows } = await host.status();
  if (attached !== endpoints) throw new Error(`${attached} of ${endpoints} endpoints are attached`);
  const what = `${endpoints} endpoints of ${applications} applications, ${rows} rows`;
  return [
    measured('agent.memory', 'MB', [host.residentMb('agent')], undefined, `resident, ${what}`),
    measured(
      'policy.receipt.p99',
      'ms',
      times,
      percentile(times, 0.99),
      'from apply to the receipt; all endpoints change',
    ),
    measured('policy.receipt.p50', 'ms', times),
    measured(
      'agent.attach',
      'ms',
      [(setUpSeconds * 1000) / endpoints],
      undefined,
      `an endpoint, ${attaching} at a time`,
    ),
  ];
}
