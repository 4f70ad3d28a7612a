/** Finding and ending the processes of a private engine: by mount namespace and by cgroup, never by name. */
import { readFile, readdir, readlink, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const stopMs = 15_000;
const pollMs = 20;
const cgroupRoot = '/sys/fs/cgroup';

/** Start time of a process in clock ticks, which together with its number names it for ever; null where there is none. */
export async function processIdentity(pid: number): Promise<string | null> {
  if (!Number.isInteger(pid) || pid <= 1) return null;
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat === null) return null;
  // The command's name may hold spaces and parentheses: fields count from the last one. State is the first after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' ? null : (fields[19] ?? null);
}

/** Every process in the mount namespace of `pid`. */
export async function processesOf(pid: number): Promise<number[]> {
  const namespace = await readlink(`/proc/${pid}/ns/mnt`).catch(() => null);
  const own = await readlink('/proc/self/ns/mnt');
  if (namespace === null || namespace === own) return [];
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    if ((await readlink(`/proc/${entry}/ns/mnt`).catch(() => null)) === namespace) found.push(Number(entry));
  }
  return found;
}

/** Kills what `find` finds until it finds nothing. */
export async function stopProcesses(find: () => Promise<readonly number[]>): Promise<void> {
  const deadline = Date.now() + stopMs;
  for (;;) {
    const pids = await find();
    if (pids.length === 0) return;
    if (Date.now() > deadline) throw new Error(`processes ${pids.join(', ')} did not end within ${stopMs} ms`);
    for (const pid of pids) kill(pid);
    await delay(pollMs);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Kills all processes below a cgroup of this name in every hierarchy, and removes it. */
export async function reapCgroups(name: string): Promise<void> {
  const hierarchies = [
    cgroupRoot,
    ...(await readdir(cgroupRoot, { withFileTypes: true }))
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(cgroupRoot, entry.name)),
  ];
  const roots = hierarchies.map((hierarchy) => join(hierarchy, name));
  await stopProcesses(async () => {
    const pids = new Set<number>();
    for (const root of roots)
      for (const group of await groupsBelow(root)) for (const pid of await membersOf(group)) pids.add(pid);
    return [...pids];
  });
  for (const root of roots) for (const group of await groupsBelow(root)) await removeGroup(group);
}

/** Deepest first, so that they can be removed in this order. */
async function groupsBelow(group: string): Promise<string[]> {
  const entries = await readdir(group, { withFileTypes: true }).catch(() => null);
  if (entries === null) return [];
  const below: string[] = [];
  for (const entry of entries) if (entry.isDirectory()) below.push(...(await groupsBelow(join(group, entry.name))));
  return [...below, group];
}

async function membersOf(group: string): Promise<number[]> {
  const text = await readFile(join(group, 'cgroup.procs'), 'utf8').catch(() => '');
  return text.split('\n').filter(Boolean).map(Number);
}

/** The kernel frees a group some time after its last process: EBUSY until then. */
async function removeGroup(group: string): Promise<void> {
  const deadline = Date.now() + stopMs;
  for (;;) {
    try {
      await rmdir(group);
      return;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT') return;
      if (code !== 'EBUSY' || Date.now() > deadline) throw error;
      await delay(pollMs);
    }
  }
}
