/**
 * Writes packages/kernel/src/generated/maps.ts from the BTF of the built objects (bpf/build). With --check it writes nothing and ends
 * with 1 when the file is stale.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { codecsText } from '../packages/kernel/src/linux/codecs.ts';
import { readObjects } from '../packages/kernel/src/linux/object-files.ts';

const directory = process.env['BULKHEAD_BPF'] ?? new URL('../bpf/build', import.meta.url).pathname;
const target = new URL('../packages/kernel/src/generated/maps.ts', import.meta.url);
const text = codecsText(readObjects(directory).btf);
if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== text) {
    console.error('packages/kernel/src/generated/maps.ts is stale: run `node tools/generate-maps.ts`.');
    process.exitCode = 1;
  }
} else {
  mkdirSync(new URL('.', target), { recursive: true });
  writeFileSync(target, text);
}
