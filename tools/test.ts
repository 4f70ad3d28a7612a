/**
 * Runs the test files: all of them, or with words those whose path has every word (`npm test -- netpol`). Each file is a process of
 * its own; files under test/kernel and test/e2e share the machine's network, so they run one after the other.
 * Ends with node's own counts over everything that ran.
 */
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { globSync } from 'node:fs';
import process from 'node:process';

const words = process.argv.slice(2).filter((word) => !word.startsWith('-'));
const files = globSync(['packages/*/src/**/*.test.ts', 'test/**/*.test.ts', 'bench/**/*.test.ts'])
  .filter((file) => !file.includes('node_modules') && words.every((word) => file.includes(word)))
  .sort();
if (files.length === 0) {
  console.error(`No test file has ${words.join(' and ')} in its path.`);
  process.exit(2);
}
let failed = 0;
const stream = run({ files, concurrency: 1, timeout: 900_000 });
stream.on('test:fail', () => (failed += 1));
stream.compose(spec).pipe(process.stdout);
stream.on('end', () => {
  process.exitCode = failed > 0 ? 1 : 0;
});
