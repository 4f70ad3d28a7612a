/**
 * `bulkhead manager`. Starts the manager with the runtime set for a resident memory that follows what is in it: a small young generation
 * (almost everything here lives long or dies at once), compiled modules from a cache, and the C library's memory in one piece that is
 * given back when it is free. A heap that grows only a little between collections would cost the manager a third more for every question;
 * idle-memory.ts collects while nobody asks instead. These can only be set when a process begins, so the process replaces
 * itself once, keeping its id.
 */
import process from 'node:process';

const runtimeOptions = ['--max-semi-space-size=4'];
const allocator = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '262144' };
const marker = 'BULKHEAD_MANAGER_RUNTIME';

const isSet = process.env[marker] === 'set' || runtimeOptions.every((option) => process.execArgv.includes(option));
if (isSet || process.execve === undefined) {
  delete process.env[marker];
  await import('./process.ts');
} else {
  // Only root's directory: whoever can write the cache writes the code.
  const cache = process.geteuid?.() === 0 ? { NODE_COMPILE_CACHE: '/var/cache/bulkhead/manager-modules' } : {};
  const environment = { ...cache, ...allocator, ...process.env, [marker]: 'set' };
  const words = [process.execPath, ...runtimeOptions, ...process.execArgv, ...process.argv.slice(1)];
  // The warning that execve is experimental tells an operator nothing.
  process.removeAllListeners('warning');
  process.execve(process.execPath, words, environment);
}
