/** The codecs that are checked in fit the objects that are built. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { codecsText } from '../../../packages/kernel/src/linux/codecs.ts';
import { readObjects } from '../../../packages/kernel/src/linux/object-files.ts';

const built = fileURLToPath(new URL('../../../bpf/build', import.meta.url));
const generated = new URL('../../../packages/kernel/src/generated/maps.ts', import.meta.url);

test('generated/maps.ts is what tools/generate-maps.ts writes for bpf/build', () => {
  const { btf } = readObjects(built);
  assert.ok(btf.maps.length > 10 && btf.struct('connection') !== null);
  assert.equal(readFileSync(generated, 'utf8'), codecsText(btf));
});

test('another layout would be noticed', () => {
  const { btf } = readObjects(built);
  const changed = {
    ...btf,
    maps: btf.maps.map((map) => (map.name === 'rows' ? { ...map, entriesMax: map.entriesMax * 2 } : map)),
  };
  assert.notEqual(readFileSync(generated, 'utf8'), codecsText(changed));
});
