/**
 * Runs the test files: all of them, or with words those whose path has every word (`npm test -- netpol`). Each file is a process of
 * its own. They run one after the other, since those under test/ share the machine's network, Docker and bpffs; a file that does not end
 * is killed and counted as failed. A file under test/ that fails is run once more, since it shares a machine with strangers; what only
 * then passes is told by name, above the counts. What a file says it counted (lines that start with `counted: `) is said again at the
 * end. Ends with the counts over everything; with `--summary FILE` they are also written there.
 */
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { globSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import process from 'node:process';

/** A file that runs longer has hung, or should be several. */
const fileTimeoutMs = 10 * 60_000;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { summary: { type: 'string' }, 'timeout-ms': { type: 'string', default: String(fileTimeoutMs) } },
});
const timeoutMs = Number(values['timeout-ms']);
const files = globSync(['packages/*/src/**/*.test.ts', 'test/**/*.test.ts', 'bench/**/*.test.ts'])
  .filter((file) => !file.includes('node_modules') && positionals.every((word) => file.includes(word)))
  .toSorted();
if (files.length === 0) {
  console.error(`No test file has ${positionals.map((word) => JSON.stringify(word)).join(' and ')} in its path.`);
  process.exit(2);
}

/** One file to its end. What it prints goes on as it comes; its own totals are left out, since there are ours at the end. */
async function runFile(file: string, failures: string[], counted: string[]): Promise<Counts> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const stream = run({ files: [file], concurrency: 1, signal: deadline });
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  stream.on('test:pass', ({ skip, details }) => {
    if (details.type === 'suite') return;
    if (skip === undefined || skip === false) counts.passed += 1;
    else counts.skipped += 1;
  });
  stream.on('test:fail', ({ name, details }) => {
    // A suite fails with its tests; it counts only when none of them did, as one whose hook failed.
    if (details.type === 'suite' && counts.failed > 0) return;
    counts.failed += 1;
    failures.push(`${file}: ${name}`);
  });
  stream.on('test:stdout', ({ message }) => counted.push(...message.split('\n').filter(isCount)));
  const shown = stream.compose(async function* (events: AsyncIterable<{ readonly type: string }>) {
    for await (const event of events)
      if (event.type !== 'test:diagnostic' && event.type !== 'test:summary') yield event;
  });
  for await (const text of shown.compose(spec)) process.stdout.write(text as string);
  if (deadline.aborted && counts.failed === 0) {
    counts.failed += 1;
    failures.push(`${file}: did not end within ${timeoutMs} ms`);
  }
  return counts;
}

function isCount(line: string): boolean {
  return line.startsWith('counted: ');
}

const beganMs = performance.now();
const totals: Counts = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
const unsteady: string[] = [];
const counted: string[] = [];
for (const [index, file] of files.entries()) {
  console.log(`\n${file} (${index + 1} of ${files.length})`);
  const failed: string[] = [];
  let said: string[] = [];
  let counts = await runFile(file, failed, said);
  if (counts.failed > 0 && file.startsWith('test/')) {
    console.log(`\n${file}: failed, so it runs once more`);
    const again: string[] = [];
    said = [];
    counts = await runFile(file, again, said);
    unsteady.push(...failed.filter((failure) => !again.includes(failure)));
    failures.push(...again);
  } else failures.push(...failed);
  counted.push(...said);
  totals.passed += counts.passed;
  totals.failed += counts.failed;
  totals.skipped += counts.skipped;
}
if (unsteady.length > 0)
  console.log(`\nfailed at first, passed when run again:\n${unsteady.map((failure) => `  ${failure}`).join('\n')}`);
if (failures.length > 0) console.log(`\nfailed:\n${failures.map((failure) => `  ${failure}`).join('\n')}`);
if (counted.length > 0) console.log(`\n${counted.join('\n')}`);
const line = `${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`;
console.log(`\n${files.length} files, ${Math.round((performance.now() - beganMs) / 1000)} s\n${line}`);
if (values.summary !== undefined) writeFileSync(values.summary, `${line}\n`);
process.exitCode = totals.failed > 0 || totals.passed === 0 ? 1 : 0;
