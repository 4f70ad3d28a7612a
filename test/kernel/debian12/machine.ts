/**
 * Debian 12's own kernel (6.1, the least that Bulkhead supports) in an emulated virtual machine, to run a command of this checkout on.
 *
 * The machine sees this machine's file system read-only over 9p, with RAM disks where programs write, and has no network of its own
 * but what the command makes inside. Kernel and modules come from Debian's package; nothing of it is installed here.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

export interface Debian12Run {
  readonly exitCode: number;
  /** Everything the command printed. */
  readonly output: string;
  /** `uname -r` inside. */
  readonly release: string;
}

export interface Debian12Options {
  /** Directory of this checkout; the command runs there. */
  readonly checkout: string;
  readonly timeoutMs: number;
  readonly memoryMiB: number;
}

/**
 * Modules the datapath and its tests need, without their dependencies: those are looked up. The first is a soft dependency of
 * nf_tables, which busybox does not follow.
 */
const modulesWanted = [
  'crc32c_generic',
  '9p',
  '9pnet_virtio',
  'virtio_pci',
  'overlay',
  'veth',
  'tun',
  'dummy',
  'vxlan',
  'bridge',
  'br_netfilter',
  'sch_ingress',
  'cls_bpf',
  'act_bpf',
  'nf_tables',
  'nft_chain_nat',
  'nft_ct',
  'nft_masq',
  'nft_nat',
  'nft_fib_inet',
  'nft_reject_inet',
  'nft_compat',
  'nf_conntrack',
  'xt_conntrack',
];

const run = promisify(execFile);
const startMark = 'BULKHEAD-VM-START';
const endMark = 'BULKHEAD-VM-END';

/** Runs a shell command under Debian 12's kernel. Rejects when the machine does not finish in time; the log's tail is in the error. */
export async function runUnderDebian12(command: string, options: Debian12Options): Promise<Debian12Run> {
  const { kernel, initramfs } = await prepareMachine(path.join(options.checkout, '.cache', 'debian12'));
  const work = await mkdtemp(path.join(tmpdir(), 'bulkhead-debian12-'));
  try {
    const script = path.join(work, 'command');
    await writeFile(script, `cd ${quote(options.checkout)}\n${command}\n`);
    const log = await boot(kernel, initramfs, script, options);
    return parseLog(log);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function boot(kernel: string, initramfs: string, script: string, options: Debian12Options): Promise<string> {
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...[
        '-nodefaults',
        '-no-user-config',
        '-no-reboot',
        '-display',
        'none',
        '-M',
        'q35',
        '-accel',
        'tcg,thread=multi',
        '-cpu',
        'max',
        '-smp',
        '1',
      ],
      ...['-m', String(options.memoryMiB), '-kernel', kernel, '-initrd', initramfs, '-serial', 'stdio'],
      ...[
        '-append',
        `console=ttyS0 quiet panic=-1 mitigations=off bulkhead.command=${script} bulkhead.checkout=${options.checkout}`,
      ],
      ...['-virtfs', 'local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  return new Promise((resolve, reject) => {
    let log = '';
    for (const stream of [qemu.stdout, qemu.stderr]) {
      // A character may arrive in two pieces.
      stream.setEncoding('utf8').on('data', (text: string) => (log += text));
    }
    const timer = setTimeout(() => {
      qemu.kill('SIGKILL');
      reject(
        new Error(
          `The Debian 12 machine did not finish within ${options.timeoutMs} ms. Its last words:\n${log.slice(-4000)}`,
        ),
      );
    }, options.timeoutMs);
    qemu.on('error', (cause) => {
      clearTimeout(timer);
      reject(new Error('qemu-system-x86_64 could not be started: install it with tools/setup', { cause }));
    });
    qemu.on('close', () => {
      clearTimeout(timer);
      resolve(log.replaceAll('\r', ''));
    });
  });
}

function parseLog(log: string): Debian12Run {
  const start = new RegExp(`^${startMark} (\\S+)$`, 'm').exec(log);
  const end = new RegExp(`^${endMark} (\\d+)$`, 'm').exec(log);
  if (start === null || end === null)
    throw new Error(`The Debian 12 machine stopped before the command ended:\n${log.slice(-4000)}`);
  return {
    release: start[1]!,
    exitCode: Number(end[1]),
    output: log.slice(start.index + start[0].length + 1, end.index),
  };
}

/** Kernel and initramfs, made once and kept in `cache`; made anew when this file changes. */
async function prepareMachine(cache: string): Promise<{ kernel: string; initramfs: string }> {
  const key = createHash('sha256')
    .update(await readFile(import.meta.filename))
    .digest('hex')
    .slice(0, 16);
  const home = path.join(cache, key);
  const machine = { kernel: path.join(home, 'vmlinuz'), initramfs: path.join(home, 'initramfs.gz') };
  if (existsSync(home)) return machine;
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(path.join(cache, 'making-'));
  try {
    const root = path.join(work, 'package');
    await unpackKernel(work, root);
    const release = (await readdir(path.join(root, 'lib/modules')))[0]!;
    await copyFile(path.join(root, 'boot', `vmlinuz-${release}`), path.join(work, 'vmlinuz'));
    await makeInitramfs(root, release, path.join(work, 'initramfs'), path.join(work, 'initramfs.gz'));
    await rm(root, { recursive: true });
    await rm(path.join(work, 'initramfs'), { recursive: true });
    await rename(work, home);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return machine;
}

/** Debian's newest kernel package of this release, unpacked into `root`. */
async function unpackKernel(work: string, root: string): Promise<void> {
  const depends = await run('apt-cache', ['depends', 'linux-image-amd64']);
  const name = /Depends: (linux-image-6\.1\.\S+)/.exec(depends.stdout)?.[1];
  if (name === undefined)
    throw new Error(
      'apt-cache does not know linux-image-amd64 with a 6.1 kernel: is this Debian 12, and has apt-get update run?',
    );
  await run('apt-get', ['download', '-o', 'APT::Sandbox::User=root', name], { cwd: work });
  const file = (await readdir(work)).find((entry) => entry.endsWith('.deb'));
  if (file === undefined) throw new Error(`apt-get download ${name} left no package behind`);
  await run('dpkg-deb', ['-x', path.join(work, file), root]);
  await rm(path.join(work, file));
}

async function makeInitramfs(root: string, release: string, tree: string, file: string): Promise<void> {
  await run('depmod', ['-b', root, release]);
  const modules = path.join(tree, 'lib/modules', release);
  await mkdir(path.join(tree, 'bin'), { recursive: true });
  await mkdir(modules, { recursive: true });
  await copyFile('/usr/bin/busybox', path.join(tree, 'bin/busybox'));
  for (const name of modulesWanted) {
    const { stdout } = await run('modprobe', ['-d', root, '-S', release, '--show-depends', name]);
    for (const [, source] of stdout.matchAll(/^insmod (\S+)/gm)) {
      const target = path.join(modules, path.relative(path.join(root, 'lib/modules', release), source!));
      await mkdir(path.dirname(target), { recursive: true });
      await copyFile(source!, target);
    }
  }
  for (const list of ['modules.builtin', 'modules.order', 'modules.builtin.modinfo'])
    await copyFile(path.join(root, 'lib/modules', release, list), path.join(modules, list));
  await run('depmod', ['-b', tree, release]);
  await writeFile(path.join(tree, 'init'), initScript);
  await chmod(path.join(tree, 'init'), 0o755);
  await run('sh', ['-c', `cd ${quote(tree)} && find . | cpio -o -H newc --quiet | gzip -1 > ${quote(file)}`]);
}

const initScript = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /new
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in virtio_pci 9pnet_virtio 9p overlay; do modprobe $module; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose root /new || exec poweroff -f
command=$(sed -n 's/.*bulkhead.command=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
checkout=$(sed -n 's/.*bulkhead.checkout=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
cp /new$command /command
mkdir /checkout; mount --bind /new$checkout /checkout
for directory in tmp run var/tmp; do mount -t tmpfs tmpfs /new/$directory; done
# The checkout may lie where a RAM disk is now.
mkdir -p /new$checkout; mount --move /checkout /new$checkout
for module in ${modulesWanted.join(' ')}; do modprobe $module; done
mount -t tmpfs tmpfs /new/lib/modules && mkdir /new/lib/modules/$(uname -r) && cp -r /lib/modules/$(uname -r)/. /new/lib/modules/$(uname -r)
mount --move /proc /new/proc; mount --move /sys /new/sys; mount --move /dev /new/dev
mount -t bpf bpf /new/sys/fs/bpf; mount -t cgroup2 cgroup /new/sys/fs/cgroup
cp /command /new/run/command
echo ${startMark} $(uname -r)
ip link set lo up
chroot /new /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TERM=dumb /bin/bash /run/command 2>&1
code=$?
echo
echo ${endMark} $code
poweroff -f
`;
