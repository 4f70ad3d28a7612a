/** Waiting until every connected host enforces a revision, and what is told of it. */
import type { ApiClient, RouteOutput } from '@bulkhead/protocol';
import { valueOf } from '../client/failure.ts';
import { CommandFailure } from '../exit.ts';
import { duration, plural } from '../output/units.ts';
import type { Shell } from '../shell.ts';

export type Receipts = RouteOutput<'getReceipts'>;
type HostReceipt = Receipts['hosts'][number];

const waitDefaultMs = 30_000;
/** Longest single wait at the manager; longer ones are several. */
const waitStepMs = 10_000;
/** While hosts are few they are asked for more often, so that the count moves. */
const countStepMs = 500;
/** Hosts that are listed with their latency, the slowest first; of the others only how many. */
const hostsListedMax = 20;

/**
 * `wait`: milliseconds, or true for the default; `sentMs`: when the change was sent, which is where the time that is told begins. Throws
 * with exit code 8 when the time is up.
 */
export async function waitForReceipts(
  api: ApiClient,
  shell: Shell,
  revision: number,
  { wait, sentMs }: { readonly wait: number | true; readonly sentMs: number },
): Promise<Receipts> {
  const endMs = shell.nowMs() + (wait === true ? waitDefaultMs : wait);
  const progress = shell.terminal.progress(`revision ${revision} on every host`);
  const stepMs = shell.terminal.width === undefined ? waitStepMs : countStepMs;
  try {
    for (;;) {
      const waitMs = Math.max(0, Math.min(stepMs, Math.floor(endMs - shell.nowMs())));
      const params = { revision: String(revision) };
      const receipts = valueOf(await api.getReceipts({ params, query: { waitMs } }));
      const done = receipts.hostsCount === 0 ? 1 : receipts.enforcedCount / receipts.hostsCount;
      progress.update({ note: `${bar(done)} ${receipts.enforcedCount} of ${receipts.hostsCount}` });
      if (receipts.complete) {
        progress.end();
        tellEnforced(shell, receipts, shell.nowMs() - sentMs);
        return receipts;
      }
      if (shell.nowMs() >= endMs) throw late(receipts);
    }
  } finally {
    progress.end();
  }
}

const barWidth = 20;

function bar(done: number): string {
  const full = Math.round(done * barWidth);
  return `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}]`;
}

function tellEnforced(shell: Shell, receipts: Receipts, tookMs: number): void {
  const { err } = shell.terminal;
  if (receipts.hostsCount === 0) return err('no host is connected: it will be enforced when one is');
  for (const line of latencyLines(receipts.hosts)) err(line);
  err(`enforced on ${plural(receipts.enforcedCount, 'host')}, ${duration(tookMs)} after it was sent`);
  const failed = receipts.hosts.flatMap((host) => host.failed.map((what) => ({ where: host.host, what })));
  if (failed.length > 0)
    throw new CommandFailure('failed', 'some of it could not be applied and stays denied', { faults: failed });
}

/** Each host with what it measured itself: from the arrival of the revision to its read-back in the kernel. */
export function latencyLines(hosts: readonly HostReceipt[]): readonly string[] {
  const slowestFirst = hosts.toSorted((a, b) => (b.enforcedMs ?? 0) - (a.enforcedMs ?? 0));
  const listed = slowestFirst.slice(0, hostsListedMax);
  const width = Math.max(0, ...listed.map(({ host }) => host.length));
  const lines = listed.map(({ host, enforced, connected, enforcedMs }) => {
    const state = enforced ? `enforced in ${duration(enforcedMs ?? 0)}` : connected ? 'not yet' : 'not connected';
    return `  ${host.padEnd(width)}  ${state}`;
  });
  const more = hosts.length - listed.length;
  return more === 0 ? lines : [...lines, `  and ${plural(more, 'host')} that were quicker`];
}

function late(receipts: Receipts): CommandFailure {
  const missing = receipts.hosts.filter((host) => host.connected && !host.enforced);
  return new CommandFailure('timedOut', `revision ${receipts.revision} is not enforced everywhere yet`, {
    faults: missing.map((host) => ({ where: host.host, what: `is at revision ${host.revision ?? 'none'}` })),
    remedy: 'It is applied, and goes on being rolled out: bulkhead get hosts --watch.',
  });
}
