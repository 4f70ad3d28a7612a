/**
 * Runs the test files: all of them, or with words those whose path has every word (`npm test -- netpol`). Each file is a process of
 * its own. They run one after the other, since those under test/ share the machine's network, Docker and bpffs.
 * Ends with node's own counts; with `--summary FILE` those counts are also written there.
 */
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { globSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import process from 'node:process';

/** A file that runs longer has hung: it is ended and counted as failed. */
const fileTimeoutMs = 15 * 60_000;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { summary: { type: 'string' } } });
const files = globSync(['packages/*/src/**/*.test.ts', 'test/**/*.test.ts', 'bench/**/*.test.ts'])
  .filter((file) => !file.includes('node_modules') && positionals.every((word) => file.includes(word)))
  .toSorted();
if (files.length === 0) {
  console.error(`No test file has ${positionals.map((word) => JSON.stringify(word)).join(' and ')} in its path.`);
  process.exit(2);
}

const stream = run({ files, concurrency: 1, timeout: fileTimeoutMs, forceExit: false });
const counts = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
stream.on('test:fail', (event) => {
  if (event.details.type === 'suite') return;
  failures.push(`${event.file ?? 'unknown file'}: ${event.name}`);
});
stream.on('test:summary', (event) => {
  // One summary a file, and one without a file over everything.
  if (event.file !== undefined) return;
  counts.passed = event.counts.passed;
  counts.failed = event.counts.tests - event.counts.passed - event.counts.skipped - event.counts.todo;
  counts.skipped = event.counts.skipped;
});
stream.on('end', () => {
  // A file that ran no test at all is a fault of the file, and no pass.
  const failed = Math.max(counts.failed, failures.length);
  const line = `${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped`;
  if (values.summary !== undefined) writeFileSync(values.summary, `${line}\n`);
  process.exitCode = failed > 0 || counts.passed === 0 ? 1 : 0;
});
stream.compose(spec).pipe(process.stdout);
