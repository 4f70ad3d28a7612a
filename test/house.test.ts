/** The tools that decide whether everything is well are judged themselves, on planted faults. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const tool = (name: string): string => fileURLToPath(new URL(`../tools/${name}`, import.meta.url));

function exitOf(cwd: string, ...args: readonly string[]): Promise<{ readonly code: number; readonly out: string }> {
  // A test runner inside a test runner would take itself for a child of the outer one.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd, env, timeout: 60_000 }, (error, out) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, out });
    });
  });
}

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bulkhead-house-'));
});
after(() => rm(directory, { recursive: true, force: true }));

async function plant(root: string, files: Readonly<Record<string, string>>): Promise<string> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, root, path)), { recursive: true });
    await writeFile(join(directory, root, path), text);
  }
  return join(directory, root);
}

describe('the test runner', () => {
  const passing = "import { test } from 'node:test'; test('a', () => {}); test('b', { skip: true }, () => {});";
  const planted: readonly (readonly [string, string, string])[] = [
    ['passes', '', '1 passed, 0 failed, 1 skipped'],
    [
      'fails with a test',
      "import { test } from 'node:test'; test('c', () => { throw new Error('no'); });",
      '1 passed, 1 failed, 1 skipped',
    ],
    [
      'kills a file that hangs',
      "import { test } from 'node:test'; test('d', () => new Promise(() => setInterval(() => {}, 100)));",
      '1 passed, 1 failed, 1 skipped',
    ],
    [
      'kills a file that passes and stays',
      "import { test } from 'node:test'; test('e', () => { setInterval(() => {}, 100); });",
      '2 passed, 1 failed, 1 skipped',
    ],
    ['fails with a file that cannot be loaded', "import 'nothing-there';", '1 passed, 1 failed, 1 skipped'],
  ];
  for (const [index, [name, other, line]] of planted.entries()) {
    test(name, async () => {
      const root = await plant(`runner-${index}`, {
        'test/a.test.ts': passing,
        ...(other === '' ? {} : { 'test/z.test.ts': other }),
      });
      const { code, out } = await exitOf(root, tool('test.ts'), '--timeout-ms', '3000');
      assert.equal(out.trimEnd().split('\n').at(-1), line);
      assert.equal(code, other === '' ? 0 : 1);
    });
  }

  test('does not pass when no file is chosen, or no test passed', async () => {
    const root = await plant('runner-none', {
      'test/a.test.ts': "import { test } from 'node:test'; test('a', { skip: true }, () => {});",
    });
    assert.equal((await exitOf(root, tool('test.ts'))).code, 1);
    assert.equal((await exitOf(root, tool('test.ts'), 'nothing')).code, 2);
  });
});

describe('the check of node_modules against the lock file', () => {
  const lock = (version: string): string =>
    JSON.stringify({
      packages: {
        '': { name: 'root' },
        'node_modules/a': { version, integrity: `sha512-${version}` },
        'node_modules/elsewhere': { version: '1.0.0', optional: true },
      },
    });
  const installed = JSON.stringify({ packages: { 'node_modules/a': { version: '1.0.0', integrity: 'sha512-1.0.0' } } });
  const files = { 'node_modules/.package-lock.json': installed, 'node_modules/a/package.json': '{}' };
  const planted: readonly (readonly [string, Readonly<Record<string, string>>, number])[] = [
    ['what is right, but for another platform', { ...files, 'package-lock.json': lock('1.0.0') }, 0],
    ['another version', { ...files, 'package-lock.json': lock('2.0.0') }, 1],
    [
      'a package that is not there',
      { 'node_modules/.package-lock.json': installed, 'package-lock.json': lock('1.0.0') },
      1,
    ],
    ['nothing installed', { 'package-lock.json': lock('1.0.0') }, 1],
  ];
  for (const [index, [name, content, code]] of planted.entries()) {
    test(name, async () => {
      const root = await plant(`lock-${index}`, content);
      assert.equal((await exitOf(root, tool('lockfile.mjs'))).code, code);
    });
  }
});
