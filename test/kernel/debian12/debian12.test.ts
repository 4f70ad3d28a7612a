/** The least kernel that Bulkhead supports: the same tests of programs and adapter, under Debian 12's own 6.1, where tcx is missing. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { runUnderDebian12 } from './machine.ts';

const checkout = path.resolve(import.meta.dirname, '../../..');
/** Those whose figures do not depend on how fast the machine is: emulation is 20 times slower. */
const files = [
  ...['connections', 'identity', 'fragments', 'sctp', 'live', 'host-end', 'host-nat'].map(
    (name) => `test/kernel/datapath/${name}.test.ts`,
  ),
  'test/kernel/oracle/oracle.test.ts',
];

/**
 * Each file as a process of its own. Under emulation Node itself dies of a segmentation fault now and then (about one start in ten with
 * two processors), which it does on no real one: such a file, and only such a one, is run once more.
 */
const command = `
export LC_ALL=C.UTF-8 BULKHEAD_ORACLE_PACKETS=2000
worst=0
for file in ${files.join(' ')}; do
  node_modules/.bin/node --test-reporter=spec "$file"
  code=$?
  if [ $code = 139 ]; then node_modules/.bin/node --test-reporter=spec "$file"; code=$?; fi
  [ $code = 0 ] || worst=$code
done
exit $worst`;

test('every program loads under Linux 6.1, and does there what it does here', { timeout: 900_000 }, async (context) => {
  const { exitCode, output, release } = await runUnderDebian12(command, {
    checkout,
    timeoutMs: 800_000,
    memoryMiB: 4096,
  });
  assert.match(release, /^6\.1\./);
  const counts = [...output.matchAll(/^\S+ pass (\d+)$/gm)].map(([, count]) => Number(count));
  const failed = /✖ failing tests:[\s\S]*/.exec(output)?.[0] ?? output.slice(-4000);
  assert.equal(exitCode, 0, `under ${release}:\n${failed}`);
  const passed = counts.reduce((sum, count) => sum + count, 0);
  assert.ok(counts.length >= files.length && passed > 20, `only ${passed} tests ran:\n${output.slice(-4000)}`);
  context.diagnostic(`${passed} tests passed under ${release}`);
});
