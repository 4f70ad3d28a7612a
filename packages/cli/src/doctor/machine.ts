/** Checks of this machine: what the datapath, the engine and the agent need from it. All read, none change anything. */
import { X509Certificate } from 'node:crypto';
import { execFile } from 'node:child_process';
import { access, constants, readdir, readFile, statfs } from 'node:fs/promises';
import { request } from 'node:http';
import { release } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { atLeast, certificateFinding, kernelVersion, type Check, type Finding } from './finding.ts';

export interface MachineFacts {
  readonly bpffs: string;
  /** Directory of our pins below bpffs. */
  readonly pins: string;
  readonly dockerSocket: string;
  /** Socket of our network plugin. */
  readonly pluginSocket: string;
  /** Name of our nftables table. */
  readonly table: string;
  readonly agentState: string;
  readonly nowMs: () => number;
}

const run = promisify(execFile);
const answerMs = 3_000;
const leastKernel = [6, 1] as const;
const tcxKernel = [6, 6] as const;
const bpffsMagic = 0xcafe4a11;

const exists = (path: string, mode: number = constants.F_OK): Promise<boolean> =>
  access(path, mode).then(
    () => true,
    () => false,
  );

const good = (name: string, found: string): Finding => ({ name, state: 'good', found });

export function machineChecks(facts: MachineFacts): readonly (readonly [string, Check])[] {
  return [
    ['rights', rights],
    ['kernel', kernel],
    ['tcx', tcx],
    ['bpf jit', jit],
    ['bpf file system', () => fileSystem(facts)],
    ['tun device', tun],
    ['libbpf', libbpf],
    ['pins', () => pins(facts)],
    ['forward chain', () => forwardChain(facts)],
    ['forwarding', forwarding],
    ['docker', () => docker(facts)],
    ['docker plugin', () => plugin(facts)],
    ['host certificate', () => hostCertificate(facts)],
  ];
}

async function rights(): Promise<Finding> {
  return process.getuid?.() === 0
    ? good('rights', 'root')
    : {
        name: 'rights',
        state: 'warn',
        found: 'not root',
        remedy: 'Most checks below need root: sudo bulkhead doctor.',
      };
}

async function kernel(): Promise<Finding> {
  const version = kernelVersion(release());
  if (version !== null && atLeast(version, leastKernel)) return good('kernel', release());
  return {
    name: 'kernel',
    state: 'bad',
    found: release(),
    remedy: `Linux ${leastKernel.join('.')} or newer is needed.`,
  };
}

async function tcx(): Promise<Finding> {
  const version = kernelVersion(release());
  if (version !== null && atLeast(version, tcxKernel)) return good('tcx', 'yes');
  return { name: 'tcx', state: 'warn', found: `not in ${release()}: clsact is used, which others can replace` };
}

async function jit(): Promise<Finding> {
  const text = await readFile('/proc/sys/net/core/bpf_jit_enable', 'utf8').catch(() => null);
  if (text === null || text.trim() !== '0') return good('bpf jit', text === null ? 'always on' : 'on');
  return { name: 'bpf jit', state: 'warn', found: 'off', remedy: 'sysctl net.core.bpf_jit_enable=1' };
}

async function fileSystem(facts: MachineFacts): Promise<Finding> {
  const name = 'bpf file system';
  const found = await statfs(facts.bpffs).catch(() => null);
  // statfs gives the type as a signed 32-bit number on some builds.
  if (found !== null && found.type >>> 0 === bpffsMagic) return good(name, facts.bpffs);
  return { name, state: 'bad', found: `${facts.bpffs} is not mounted`, remedy: `mount -t bpf bpf ${facts.bpffs}` };
}

async function tun(): Promise<Finding> {
  if (await exists('/dev/net/tun', constants.R_OK | constants.W_OK)) return good('tun device', '/dev/net/tun');
  return { name: 'tun device', state: 'bad', found: 'cannot be opened: questions need it', remedy: 'modprobe tun' };
}

async function libbpf(): Promise<Finding> {
  const { stdout } = await run('ldconfig', ['-p']);
  const line = stdout.split('\n').find((each) => each.includes('libbpf.so.1'));
  if (line !== undefined) return good('libbpf', line.split('=> ').at(-1)!.trim());
  return { name: 'libbpf', state: 'bad', found: 'libbpf.so.1 is missing', remedy: 'apt-get install libbpf1' };
}

async function pins(facts: MachineFacts): Promise<Finding> {
  const found = await readdir(facts.pins).catch((error: NodeJS.ErrnoException) => error);
  if (Array.isArray(found)) return good('pins', `${found.length} in ${facts.pins}`);
  if (found.code === 'EACCES') return { name: 'pins', state: 'skipped', found: 'cannot be read without root' };
  return {
    name: 'pins',
    state: 'warn',
    found: `none in ${facts.pins}`,
    remedy: 'The agent has not run yet: bulkhead up.',
  };
}

async function forwardChain(facts: MachineFacts): Promise<Finding> {
  const name = 'forward chain';
  const listed = await run('nft', ['list', 'table', 'inet', facts.table]).catch(
    (error: NodeJS.ErrnoException & { stderr?: string }) => error,
  );
  if ('stdout' in listed && !(listed instanceof Error)) {
    const chains = [...listed.stdout.matchAll(/hook forward/g)].length;
    if (chains > 0) return good(name, `nftables table inet ${facts.table}`);
    return {
      name,
      state: 'bad',
      found: `table inet ${facts.table} has no forward chain`,
      remedy: 'Restart the agent: bulkhead down && bulkhead up.',
    };
  }
  if (process.getuid?.() !== 0) return { name, state: 'skipped', found: 'cannot be read without root' };
  return {
    name,
    state: 'warn',
    found: `there is no table inet ${facts.table}`,
    remedy: 'The agent makes it: bulkhead up.',
  };
}

async function forwarding(): Promise<Finding> {
  const text = (await readFile('/proc/sys/net/ipv4/ip_forward', 'utf8')).trim();
  return text === '1'
    ? good('forwarding', 'on')
    : {
        name: 'forwarding',
        state: 'warn',
        found: 'off: containers reach nothing outside, published ports do not work',
      };
}

async function docker(facts: MachineFacts): Promise<Finding> {
  const name = 'docker';
  if (!(await exists(facts.dockerSocket)))
    return {
      name,
      state: 'warn',
      found: `no engine at ${facts.dockerSocket}`,
      remedy: 'Namespaces and taps can be attached without one: bulkhead attach.',
    };
  const version = await engineVersion(facts.dockerSocket);
  return version === null
    ? { name, state: 'bad', found: `${facts.dockerSocket} does not answer` }
    : good(name, `engine ${version} at ${facts.dockerSocket}`);
}

function engineVersion(socketPath: string): Promise<string | null> {
  return new Promise((resolve) => {
    const asked = request({ socketPath, path: '/version', timeout: answerMs }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => (text += part));
      response.on('end', () => resolve(versionOf(text)));
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(null));
    asked.end();
  });
}

function versionOf(text: string): string | null {
  try {
    const value: unknown = JSON.parse(text);
    const version = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)['Version'] : null;
    return typeof version === 'string' ? version : null;
  } catch {
    // Whatever answers there is no engine.
    return null;
  }
}

async function plugin(facts: MachineFacts): Promise<Finding> {
  if (await exists(facts.pluginSocket)) return good('docker plugin', facts.pluginSocket);
  return {
    name: 'docker plugin',
    state: 'warn',
    found: `no ${facts.pluginSocket}`,
    remedy: 'The agent makes it: bulkhead up.',
  };
}

/** The agent's credentials, as far as they are looked at here. */
const credentials = z.looseObject({ host: z.string(), certificatePem: z.string() });

async function hostCertificate(facts: MachineFacts): Promise<Finding> {
  const name = 'host certificate';
  const text = await readFile(join(facts.agentState, 'credentials.json'), 'utf8').catch(
    (error: NodeJS.ErrnoException) => error,
  );
  if (typeof text !== 'string') {
    return text.code === 'EACCES'
      ? { name, state: 'skipped', found: 'cannot be read without root' }
      : {
          name,
          state: 'warn',
          found: 'this host is not enrolled',
          remedy: 'bulkhead up, or bulkhead enroll HOST at the manager.',
        };
  }
  const { host, certificatePem } = credentials.parse(JSON.parse(text));
  const finding = certificateFinding(name, new X509Certificate(certificatePem).validToDate.getTime(), facts.nowMs());
  return { ...finding, found: `${host}: ${finding.found}` };
}
