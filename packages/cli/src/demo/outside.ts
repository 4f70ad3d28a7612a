/**
 * A machine on the LAN, as a network namespace behind a veth pair: from there come the visitors. The engine's namespace is its router,
 * as a host is for its network.
 */
import { access } from 'node:fs/promises';
import { run } from './command.ts';
import type { Engine } from './engine.ts';

export const visitorAddress = '198.51.100.10';
export const hostAddress = '198.51.100.1';
const prefixLength = 24;

export interface Outside extends AsyncDisposable {
  /** Command and arguments that run `args` as the visitor. */
  command(...args: readonly string[]): readonly [string, ...string[]];
}

export async function createOutside(engine: Engine): Promise<Outside> {
  const netns = `${engine.netns}-lan`;
  const remove = async (): Promise<void> => {
    await access(`/run/netns/${netns}`).then(
      () => run('ip', ['netns', 'delete', netns]),
      () => undefined,
    );
  };
  await remove();
  await run('ip', ['netns', 'add', netns]);
  try {
    const ends = ['lan0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns];
    await run('ip', ['-n', engine.netns, 'link', 'add', ...ends]);
    await run('ip', ['-n', engine.netns, 'address', 'add', `${hostAddress}/${prefixLength}`, 'dev', 'lan0']);
    await run('ip', ['-n', engine.netns, 'link', 'set', 'lan0', 'up']);
    await run('ip', ['-n', netns, 'address', 'add', `${visitorAddress}/${prefixLength}`, 'dev', 'eth0']);
    await run('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);
    await run('ip', ['-n', netns, 'link', 'set', 'eth0', 'up']);
    // The host's way to everywhere else leads over the LAN, as on a real host.
    await run('ip', ['-n', engine.netns, 'route', 'add', 'default', 'via', visitorAddress]);
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    command: (...args) => ['nsenter', `--net=/run/netns/${netns}`, ...args],
    [Symbol.asyncDispose]: remove,
  };
}
