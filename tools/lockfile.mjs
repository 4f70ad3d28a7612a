/**
 * Exits 0 when node_modules holds what package-lock.json says, 1 otherwise. Plain JavaScript without dependencies: it runs on the
 * machine's own Node (20 or newer), before anything is installed.
 */
import { existsSync, readFileSync } from 'node:fs';
import process from 'node:process';

const wanted = JSON.parse(readFileSync('package-lock.json', 'utf8')).packages;
const hidden = 'node_modules/.package-lock.json';
const installed = existsSync(hidden) ? JSON.parse(readFileSync(hidden, 'utf8')).packages : {};

const differs = Object.entries(wanted).some(([path, entry]) => {
  if (!path.startsWith('node_modules/') && !path.includes('/node_modules/')) return false;
  const there = installed[path];
  // Optional packages of another platform are in the lock file and rightly absent.
  if (there === undefined) return entry.optional !== true && entry.peer !== true;
  const sameContent =
    entry.integrity === undefined || there.integrity === undefined || there.integrity === entry.integrity;
  return there.version !== entry.version || !sameContent || !existsSync(path);
});
process.exitCode = differs ? 1 : 0;
