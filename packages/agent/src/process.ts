/** The agent's process: reads options, starts, ends cleanly on a signal. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname, release } from 'node:os';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { openLinuxKernel } from '@bulkhead/kernel';
import { factPrefix, labelKeyFault, labelValueFault, type Labels } from '@bulkhead/policy';
import { hostName } from '@bulkhead/protocol';
import { pino } from 'pino';
import { startAgent } from './agent.ts';
import { puntBurstDefault, puntRateDefault } from './agent-options.ts';
import { attachments, attachmentsDefaults } from './attach/attachments.ts';
import { dockerDefaults } from './attach/docker/docker-attachment.ts';
import type { ManagerAddress } from './host/guard.ts';
import { sshPorts } from './host/ssh-ports.ts';
import { readCredentials } from './link/credentials.ts';
import { enrollingLink } from './link/enrolling-link.ts';
import { stateDirectoryDefault } from './state.ts';
import { software } from './version.ts';

const help = `Usage: bulkhead-agent [options]

  --host NAME           this host's name at the manager (default: the machine's)
  --enrol HOST:PORT     the manager's API, where the host enrols (default 127.0.0.1:7444)
  --manager HOST:PORT   the manager's agent link (default: what the manager said at enrolment)
  --token TEXT          one-time enrolment token
  --token-file FILE     a file that holds, or will hold, the token (default /run/bulkhead/enrolment.token)
  --state DIR           where everything is kept (default ${stateDirectoryDefault})
  --bpffs DIR           pins of programs and maps (default /sys/fs/bpf/bulkhead)
  --punt NAME           the punt device (default punt0)
  --socket PATH         control socket (default /run/bulkhead/agent.sock; "none" for none)
  --docker SOCKET       the engine's socket (default ${dockerDefaults.engineSocket}; "none" without Docker)
  --plugin SOCKET       where the engine finds the network driver (default ${dockerDefaults.pluginSocket})
  --resolv-conf FILE    the host's name servers (default /etc/resolv.conf)
  --uplink NAME         an interface that leads out of the machine; may be repeated (default: found by their addresses)
  --label KEY=VALUE     a label of this host, for segments of hosts; may be repeated
  --guard-port N        a TCP port of this host that no document can close; may be repeated (SSH's are found)
  --punt-rate N         questions per second and endpoint (default ${puntRateDefault})
  --punt-burst N        … and how many at once (default ${puntBurstDefault})
  --mechanism NAME      auto (default), tcx or clsact
  --log LEVEL           trace, debug, info (default), warn, error, silent
  --help
`;

class OptionError extends Error {}

const options = {
  host: { type: 'string', default: hostname().toLowerCase() },
  enrol: { type: 'string', default: '127.0.0.1:7444' },
  manager: { type: 'string' },
  token: { type: 'string' },
  'token-file': { type: 'string', default: '/run/bulkhead/enrolment.token' },
  state: { type: 'string', default: stateDirectoryDefault },
  bpffs: { type: 'string', default: '/sys/fs/bpf/bulkhead' },
  punt: { type: 'string', default: 'punt0' },
  socket: { type: 'string', default: '/run/bulkhead/agent.sock' },
  docker: { type: 'string', default: dockerDefaults.engineSocket },
  plugin: { type: 'string', default: dockerDefaults.pluginSocket },
  'resolv-conf': { type: 'string', default: attachmentsDefaults.resolvConf },
  uplink: { type: 'string', multiple: true },
  label: { type: 'string', multiple: true },
  'guard-port': { type: 'string', multiple: true },
  'punt-rate': { type: 'string', default: String(puntRateDefault) },
  'punt-burst': { type: 'string', default: String(puntBurstDefault) },
  mechanism: { type: 'string', default: 'auto' },
  log: { type: 'string', default: 'info' },
  help: { type: 'boolean', default: false },
} as const;

async function main(): Promise<void> {
  const { values } = parseArgs({ options });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const host = hostName.safeParse(values.host);
  if (!host.success)
    throw new OptionError(`--host ${values.host}: ${host.error.issues[0]?.message ?? 'is no host name'}`);
  const enrolAt = addressOf('--enrol', values.enrol);
  const guardPorts = (values['guard-port'] ?? []).map((text) => portOf('--guard-port', text));
  // An error under `error` is told with message, stack and causes: by itself JSON makes nothing of one.
  const serializers = { error: pino.stdSerializers.errWithCause };
  const log = pino({ level: levelOf(values.log), serializers }, pino.destination({ dest: 2, sync: false }));
  const kernel = openLinuxKernel({
    pinRoot: values.bpffs,
    puntName: values.punt,
    mechanism: mechanismOf(values.mechanism),
  });
  const engineSocket = values.docker.replace(/^unix:\/\//, '');
  const docker = engineSocket === 'none' ? null : { ...dockerDefaults, engineSocket, pluginSocket: values.plugin };
  const agent = await startAgent({
    host: host.data,
    kernel,
    log,
    stateDirectory: values.state,
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    startId: randomUUID().replaceAll('-', ''),
    kernelName: `Linux ${release()}`,
    software,
    link: enrollingLink({
      host: host.data,
      directory: values.state,
      managerHost: enrolAt.host,
      managerPort: enrolAt.port,
      linkAddress: values.manager === undefined ? null : addressOf('--manager', values.manager),
      token: values.token ?? null,
      tokenFile: values['token-file'],
      random: Math.random,
      kernel: `Linux ${release()}`,
      software,
    }),
    uplinks: values.uplink ?? null,
    hostLabels: labelsOf(values.label ?? []),
    guard: () => ({
      ssh: sshPorts(),
      managers: [enrolAt, ...linkAddressOf(values.manager, values.state)],
      more: guardPorts,
    }),
    puntRate: countOf('--punt-rate', values['punt-rate']),
    puntBurst: countOf('--punt-burst', values['punt-burst']),
    attachments: attachments({ docker, resolvConf: values['resolv-conf'] }),
    controlSocket: values.socket === 'none' ? null : values.socket,
  });
  log.info({ host: host.data, software }, 'the agent is ready');
  const stop = async (signal: string): Promise<void> => {
    log.info({ signal }, 'ending; what is in the kernel stays');
    await agent[Symbol.asyncDispose]();
    await kernel[Symbol.asyncDispose]();
    process.exit(0);
  };
  const end = (signal: string): void => {
    stop(signal).catch((error: unknown) => {
      log.fatal({ error }, 'did not end cleanly');
      process.exit(1);
    });
  };
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
}

function addressOf(where: string, text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535) throw new OptionError(`${where} ${text}: has to be HOST:PORT`);
  return { host: match[1] ?? match[2]!, port };
}

/** Where the agent link is: as said, or as the manager said at enrolment. */
function linkAddressOf(said: string | undefined, directory: string): readonly ManagerAddress[] {
  if (said !== undefined) return [addressOf('--manager', said)];
  const known = readCredentials(directory);
  return known === null ? [] : [{ host: known.linkHost, port: known.linkPort }];
}

function labelsOf(texts: readonly string[]): Labels {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=');
      const [key, value] = at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
      const fault = labelKeyFault(key) ?? labelValueFault(key, value);
      if (fault !== null) throw new OptionError(`--label ${text}: ${fault}`);
      if (key.startsWith(factPrefix)) throw new OptionError(`--label ${text}: ${factPrefix} is for facts`);
      return [key, value];
    }),
  );
}

function portOf(where: string, text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port <= 65_535) return port;
  throw new OptionError(`${where} ${text}: has to be a port from 1 to 65535`);
}

function countOf(where: string, text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count > 0 && count <= 1_000_000) return count;
  throw new OptionError(`${where} ${text}: has to be a number from 1 to 1000000`);
}

function mechanismOf(text: string): 'auto' | 'tcx' | 'clsact' {
  if (text === 'auto' || text === 'tcx' || text === 'clsact') return text;
  throw new OptionError(`--mechanism ${text}: is none of auto, tcx, clsact`);
}

function levelOf(text: string): string {
  const levels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'];
  if (levels.includes(text)) return text;
  throw new OptionError(`--log ${text}: is none of ${levels.join(', ')}`);
}

main().catch((error: unknown) => {
  const isExpected =
    error instanceof OptionError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') === true;
  const text = error instanceof Error ? (isExpected ? error.message : (error.stack ?? error.message)) : String(error);
  process.stderr.write(`bulkhead-agent: ${text}\n`);
  process.exit(isExpected ? 2 : 1);
});
