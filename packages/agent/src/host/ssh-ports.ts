/**
 * The ports at which the host's SSH servers really listen: listening sockets of this network namespace whose owner is an `sshd` of the
 * machine itself. Whoever may only name a process, or run one in a container, does not get a port into the guard that way.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const listenState = '0A';
const processesMax = 65_536;
const serverNames: ReadonlySet<string> = new Set(['sshd', 'dropbear']);

/** Sorted, without repetitions. What cannot be read counts as nothing: the guard has port 22 in any case. */
export function sshPorts(proc = '/proc'): readonly number[] {
  const listening = new Map([...listenersIn(`${proc}/self/net/tcp`), ...listenersIn(`${proc}/self/net/tcp6`)]);
  const ports = new Set<number>();
  for (const process of serversOf(proc)) {
    for (const inode of socketsOf(`${proc}/${process}/fd`)) {
      const port = listening.get(inode);
      if (port !== undefined) ports.add(port);
    }
  }
  return [...ports].sort((a, b) => a - b);
}

/** Inode and port of every listening socket. */
function listenersIn(path: string): readonly (readonly [string, number])[] {
  const lines = read(path)?.trim().split('\n').slice(1) ?? [];
  return lines.flatMap((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    const port = Number.parseInt(local?.split(':')[1] ?? '', 16);
    return state === listenState && inode !== undefined && port > 0 ? [[inode, port] as const] : [];
  });
}

/** Processes of root in the machine's own mount namespace that run an SSH server. */
function serversOf(proc: string): readonly string[] {
  const machine = link(`${proc}/1/ns/mnt`);
  let names: readonly string[];
  try {
    names = readdirSync(proc);
  } catch {
    return [];
  }
  return names
    .filter((name) => /^[1-9][0-9]*$/.test(name))
    .slice(0, processesMax)
    .filter((name) => serverNames.has(read(`${proc}/${name}/comm`)?.trim() ?? ''))
    .filter((name) => /^Uid:\s+0\s+0\s/m.test(read(`${proc}/${name}/status`) ?? ''))
    .filter((name) => machine !== null && link(`${proc}/${name}/ns/mnt`) === machine);
}

function socketsOf(directory: string): readonly string[] {
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  return names.flatMap((name) => /^socket:\[(\d+)\]$/.exec(link(`${directory}/${name}`) ?? '')?.[1] ?? []);
}

/** A process may end while it is looked at. */
function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

function link(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
