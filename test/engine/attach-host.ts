/**
 * A process that attaches workloads with the real kernel, registry and attachments, and a policy that a test can read at a glance: a
 * workload with the label `open=yes` may speak to and be spoken to by everybody, any other by nobody. Started inside the engine's network
 * namespace (see harness.ts), spoken to over Node's IPC channel.
 */
import process from 'node:process';
import { KernelError, openLinuxKernel, type Kernel } from '@bulkhead/kernel';
import { pino } from 'pino';
import { attachments, attachmentsDefaults, openAgentState, type Attachment } from '@bulkhead/agent';
import { reservedIdentity } from '@bulkhead/policy';
import type { DivergenceRecord } from '@bulkhead/protocol';
import { Registry } from '../../packages/agent/src/registry/registry.ts';
import { systemClock } from '../../packages/agent/src/clock.ts';

export interface AttachHostSettings {
  readonly host: string;
  readonly stateDirectory: string;
  readonly pinRoot: string;
  readonly puntName: string;
  readonly engineSocket: string;
  readonly pluginSocket: string;
  readonly resolvConf: string;
  readonly quarantineMs: number;
}

/** Asked over IPC; answered with `{id, value}` or `{id, error}`. */
export type AttachHostRequest =
  | { readonly id: number; readonly kind: 'snapshot' }
  | { readonly id: number; readonly kind: 'resync' }
  | {
      readonly id: number;
      readonly kind: 'adopt';
      readonly workload: string;
      readonly mode: 'observe' | 'enforce' | 'release';
    }
  | { readonly id: number; readonly kind: 'command'; readonly name: string; readonly argument: unknown };

const rulesetOpen = 1;
const rulesetShut = 2;
const identityOpen = 300;
const identityShut = 301;
const forever = { action: 'allow', rule: 1 } as const;
const never = { action: 'deny', rule: 2 } as const;

const settings = JSON.parse(process.argv[2] ?? '{}') as AttachHostSettings;
const log = pino({ level: process.env['BULKHEAD_TEST_LOG'] ?? 'debug' }, pino.destination({ dest: 2, sync: true }));
const state = openAgentState(settings.stateDirectory);
const kernel = openLinuxKernel({ pinRoot: settings.pinRoot, puntName: settings.puntName });
kernel.programs.load();
preparePolicy(kernel);
const registry: Registry = new Registry({
  ...{ kernel, state, clock: systemClock, bootId: 'test' },
  isGuarded: (ifindex: number) =>
    kernel.links.attached().some((link) => link.ifindex === ifindex && link.hook === 'workload'),
  apply: () => apply(),
  markDirty: () => setImmediate(() => apply()),
});
const divergences = new Map<string, DivergenceRecord>();
const attachment: Attachment = await attachments({
  ...attachmentsDefaults,
  resolvConf: settings.resolvConf,
  docker: {
    engineSocket: settings.engineSocket,
    pluginSocket: settings.pluginSocket,
    scope: 'local',
    quarantineMs: settings.quarantineMs,
  },
})({
  ...{ host: settings.host, kernel, state, registry, log, nowMs: () => Date.now() },
  directory: { byName: () => [], byAddress: () => undefined, byWorkload: () => undefined },
  reportDivergence: (record) => void divergences.set(record.id, record),
  onFlow: () => () => undefined,
  allows: ({ workload }) => registry.workload(workload)?.labels['open'] === 'yes',
  learn: () => undefined,
});
apply();
const beat = setInterval(() => kernel.maps.heartbeat(), 500);

process.on('message', (request: AttachHostRequest) => {
  answer(request).then(
    (value) => process.send?.({ id: request.id, value }),
    (error: unknown) => process.send?.({ id: request.id, error: String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', () => {
  clearInterval(beat);
  void attachment[Symbol.asyncDispose]()
    .then(() => kernel[Symbol.asyncDispose]())
    .then(() => process.exit(0));
});
process.send?.({ ready: true });

async function answer(request: AttachHostRequest): Promise<unknown> {
  switch (request.kind) {
    case 'snapshot':
      return {
        endpoints: registry.endpoints().toSorted((one, other) => one.slot - other.slot),
        workloads: registry.workloads().toSorted((one, other) => (one.workload < other.workload ? -1 : 1)),
        kernel: kernel.maps.endpoints(),
        counters: [...kernel.maps.counters()].map(([name, value]) => [name, Number(value)]),
        divergences: [...divergences.values()],
      };
    case 'resync':
      return attachment.resync();
    case 'adopt':
      return attachment.adopt(request.workload, request.mode);
    case 'command': {
      const command = attachment.commands.get(request.name);
      if (command === undefined) throw new Error(`no command ${request.name}`);
      return command(request.argument);
    }
  }
}

function preparePolicy({ maps }: Kernel): void {
  const open = maps.addPortTable({ ranges: [], otherwise: forever });
  const shut = maps.addPortTable({ ranges: [], otherwise: never });
  // The resolver at the gateway is everybody's, as the built-in rule of the real agent says.
  const dns = [6, 17].map((protocol) => ({ protocol, from: 53, to: 53, verdict: forever }));
  const resolver = maps.addPortTable({ ranges: dns, otherwise: never });
  maps.setRows([{ ruleset: rulesetShut, direction: 'egress', peer: reservedIdentity.host, root: resolver }]);
  maps.setRows(
    (['egress', 'ingress'] as const).flatMap((direction) => [
      { ruleset: rulesetOpen, direction, peer: 0, root: open },
      { ruleset: rulesetShut, direction, peer: 0, root: shut },
    ]),
  );
}

/** What the kernel refuses (an interface that has just gone) is tried again with the next change, as the real agent does. */
function apply(): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    log.warn({ error: error.message }, 'not everything could be applied');
  }
}

/** Writes what the registry has. The real agent plans; a test's host has a handful of endpoints. */
function write(): void {
  const { maps, links } = kernel;
  const wanted = registry.endpoints();
  const slots = new Set(wanted.map((endpoint) => endpoint.slot));
  for (const entry of maps.endpoints()) {
    if (slots.has(entry.slot)) continue;
    for (const address of [entry.ipv4, entry.ipv6]) if (address !== null) maps.removeAddress(address);
    links.detach(entry.ifindex, 'workload');
    maps.removeEndpoint(entry.slot);
  }
  for (const endpoint of wanted) {
    const labels =
      endpoint.workload === null ? null : { ...registry.workload(endpoint.workload)?.labels, ...endpoint.labels };
    const isOpen = labels?.['open'] === 'yes';
    maps.setEndpoint({
      ...{ slot: endpoint.slot, ifindex: endpoint.ifindex, kind: endpoint.kind, generation: 1, mac: endpoint.mac },
      ...{
        gatewayMac: endpoint.gatewayMac,
        ipv4: endpoint.ipv4,
        ipv6: endpoint.ipv6,
        mtu: endpoint.mtu,
        connectionsMax: 1024,
      },
      state: endpoint.fenced
        ? 'fenced'
        : labels === null
          ? 'held'
          : endpoint.mode === 'observe'
            ? 'observed'
            : 'governed',
      identity: labels === null ? 3 : isOpen ? identityOpen : identityShut,
      ruleset: labels === null ? 0 : isOpen ? rulesetOpen : rulesetShut,
      epoch: isOpen ? 2 : 1,
    });
    for (const address of [endpoint.ipv4, endpoint.ipv6])
      if (address !== null) maps.setAddress(address, { kind: 'endpoint', slot: endpoint.slot });
    links.attach(endpoint.ifindex, 'workload');
  }
  for (const address of registry.hostAddresses()) maps.setAddress(address, { kind: 'host' });
}
