import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ledgerContract } from '../testing/ledger-contract.ts';
import { openSqliteLedger } from './sqlite-ledger.ts';
import { openSqliteStreams } from './sqlite-streams.ts';

const directory = mkdtempSync(join(tmpdir(), 'bulkhead-ledger-'));
after(() => rmSync(directory, { recursive: true, force: true }));

ledgerContract('sqlite', { open: async (name) => openSqliteLedger(join(directory, `${name}.sqlite`)) });

/** Appends as fast as it can and prints each sequence only after its promise resolved. */
const writer = `
  import { openSqliteLedger } from ${JSON.stringify(join(import.meta.dirname, 'sqlite-ledger.ts'))};
  import { writeSync } from 'node:fs';
  const ledger = openSqliteLedger(process.argv[1]);
  let end = await ledger.last();
  for (;;) {
    const result = await ledger.append(end, new TextEncoder().encode('batch ' + (end + 1)));
    if (result.kind !== 'appended') throw new Error('conflict');
    end = result.sequence;
    writeSync(1, end + '\\n');
  }
`;

test('kill -9 during appends loses nothing that was acknowledged', { timeout: 60_000 }, async () => {
  const path = join(directory, 'killed.sqlite');
  let acknowledged = 0;
  for (let round = 0; round < 3; round += 1) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', writer, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const target = acknowledged + 50 + round * 37;
    let output = '';
    const exited = new Promise((resolve) => child.on('exit', resolve));
    for await (const chunk of child.stdout) {
      output += String(chunk);
      const complete = output.slice(0, output.lastIndexOf('\n'));
      acknowledged = Number(complete.slice(complete.lastIndexOf('\n') + 1));
      if (acknowledged >= target && !child.killed) child.kill('SIGKILL');
    }
    await exited;
    await using ledger = openSqliteLedger(path);
    const end = await ledger.last();
    assert.ok(end >= acknowledged, `acknowledged ${acknowledged}, found ${end}`);
    const all = await ledger.read(0, end + 1);
    assert.ok(all.kind === 'entries');
    all.entries.forEach((entry, index) => {
      assert.equal(entry.sequence, index + 1);
      assert.equal(new TextDecoder().decode(entry.batch), `batch ${index + 1}`);
    });
  }
});

test('streams number records without gaps, tail and trim them, and keep marks', async () => {
  const path = join(directory, 'streams.sqlite');
  const bytes = (value: number) => new Uint8Array([value]);
  {
    await using streams = openSqliteStreams(path, () => 42);
    const firsts = await Promise.all([
      streams.append('q', [bytes(1), bytes(2)]),
      streams.append('other', [bytes(9)]),
      streams.append('q', [bytes(3)]),
    ]);
    assert.deepEqual(firsts, [1, 1, 3]);
    await streams.setMark('h1:boot', 17);
    assert.deepEqual(
      (await streams.tail('q', 2)).map((record) => record.data[0]),
      [2, 3],
    );
    await streams.trim('q', 4);
    assert.deepEqual(await streams.read('q', 0, 10), []);
    await assert.rejects(streams.trim('audit', 2));
  }
  await using again = openSqliteStreams(path, () => 43);
  assert.equal(await again.last('q'), 3);
  assert.equal(await again.append('q', [bytes(4)]), 4);
  assert.equal(await again.mark('h1:boot'), 17);
  assert.equal(await again.mark('nobody'), null);
});

test('many appends of one turn share a commit', async () => {
  await using streams = openSqliteStreams(join(directory, 'group.sqlite'), () => 1);
  const first = performance.now();
  await streams.append('s', [new Uint8Array(100)]);
  const oneMs = performance.now() - first;
  const second = performance.now();
  await Promise.all(Array.from({ length: 1000 }, () => streams.append('s', [new Uint8Array(100)])));
  const thousandMs = performance.now() - second;
  assert.ok(thousandMs < 250 * Math.max(oneMs, 0.4), `1 append ${oneMs} ms, 1,000 appends ${thousandMs} ms`);
});
