import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { guardEntries, guardLabels, guardPorts } from './guard.ts';
import { hostMark, inputTable } from './input-table.ts';
import { sshPorts } from './ssh-ports.ts';

const hostAddresses = new Set(['192.0.2.1', 'fd00::1']);

test('the guard keeps SSH open wherever it listens, and the manager: from its own host the other way round', () => {
  const elsewhere = [
    { host: '192.0.2.9', port: 7444 },
    { host: '192.0.2.9', port: 7443 },
  ];
  const far = guardPorts({ ssh: [2222, 22], managers: elsewhere, more: [9090], hostAddresses });
  assert.deepEqual(far, { ingress: [22, 2222, 9090], egress: [7443, 7444] });
  for (const host of ['127.0.0.1', '::1', 'localhost', '192.0.2.1', 'fd00::1']) {
    const here = guardPorts({ ssh: [], managers: [{ host, port: 7443 }], more: [], hostAddresses });
    assert.deepEqual(here.ingress, [22, 7443], host);
  }
});

test('the guard as facts, and for the kernel: of both families, DHCP with it', () => {
  const labels = guardLabels({ ingress: [22, 2222], egress: [] });
  assert.deepEqual(labels, { 'bulkhead.dev/guard-ingress': 'tcp-22_tcp-2222', 'bulkhead.dev/guard-egress': '' });
  const entries = guardEntries(labels, 7).map((entry) =>
    entry.kind === 'guard' ? `${entry.direction} ${entry.protocol} ${entry.port} ${entry.address} ${entry.rule}` : '',
  );
  assert.deepEqual(
    entries.filter((text) => text.includes(' :: ')).sort(),
    ['egress 17 547', 'egress 17 67', 'ingress 17 546', 'ingress 17 68', 'ingress 6 22', 'ingress 6 2222'].map(
      (text) => `${text} :: 7`,
    ),
  );
  assert.equal(entries.length, 12);
});

test('the input chain is one that the kernel takes, and nothing unchecked gets into it', () => {
  const table = { guard: { ingress: [22], egress: [7443] }, uplinks: ['up0', 'eth0.10'], inside: ['docker0'] };
  for (const guard of [table.guard, { ingress: [], egress: [] }]) {
    const text = inputTable({ ...table, guard });
    const command = ['--net', 'sh', '-c', 'nft -f - && nft list table inet bulkhead_host'];
    assert.match(execFileSync('unshare', command, { input: text, encoding: 'utf8' }), /chain guarded/);
  }
  assert.throws(() => inputTable({ ...table, uplinks: ['x" accept; #'] }), /interface name/);
});

test('the mark is that of the programs', () => {
  const bpf = join(import.meta.dirname, '../../../../bpf');
  const headers = readdirSync(bpf).filter((name) => name.endsWith('.h'));
  const text = headers.map((name) => readFileSync(join(bpf, name), 'utf8')).join('\n');
  assert.equal(Number(/mark_host = (0x[0-9a-f]+)/.exec(text)?.[1]), hostMark);
});

/** A /proc as far as it is looked at: processes with their names, users, mount namespaces and sockets. */
function withProc(
  processes: Readonly<Record<string, { comm: string; uid: number; mnt: string; sockets: readonly number[] }>>,
  listening: readonly (readonly [port: number, inode: number, state: string])[],
  check: (proc: string) => void,
): void {
  const proc = mkdtempSync(join(tmpdir(), 'bulkhead-proc-'));
  try {
    const lines = listening.map(
      ([port, inode, state]) =>
        `   0: 00000000:${port.toString(16).padStart(4, '0').toUpperCase()} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1`,
    );
    mkdirSync(join(proc, 'self/net'), { recursive: true });
    writeFileSync(join(proc, 'self/net/tcp'), ['  sl  local_address', ...lines, ''].join('\n'));
    for (const [pid, { comm, uid, mnt, sockets }] of Object.entries(processes)) {
      mkdirSync(join(proc, pid, 'fd'), { recursive: true });
      mkdirSync(join(proc, pid, 'ns'));
      writeFileSync(join(proc, pid, 'comm'), `${comm}\n`);
      writeFileSync(join(proc, pid, 'status'), `Name:\t${comm}\nUid:\t${uid}\t${uid}\t${uid}\t${uid}\n`);
      symlinkSync(mnt, join(proc, pid, 'ns/mnt'));
      for (const [index, inode] of sockets.entries())
        symlinkSync(`socket:[${inode}]`, join(proc, pid, 'fd', `${index}`));
    }
    check(proc);
  } finally {
    rmSync(proc, { recursive: true });
  }
}

test('SSH is where root’s own sshd listens, and nowhere else', () => {
  const machine = 'mnt:[1]';
  withProc(
    {
      '1': { comm: 'systemd', uid: 0, mnt: machine, sockets: [90] },
      '10': { comm: 'sshd', uid: 0, mnt: machine, sockets: [11, 12] },
      '20': { comm: 'sshd', uid: 1000, mnt: machine, sockets: [21] },
      '30': { comm: 'sshd', uid: 0, mnt: 'mnt:[2]', sockets: [31] },
      '40': { comm: 'nginx', uid: 0, mnt: machine, sockets: [41] },
    },
    [
      [2222, 11, '0A'],
      [40_022, 12, '01'],
      [4444, 21, '0A'],
      [5555, 31, '0A'],
      [80, 41, '0A'],
    ],
    (proc) => assert.deepEqual(sshPorts(proc), [2222]),
  );
  assert.deepEqual(sshPorts('/nowhere'), []);
});
