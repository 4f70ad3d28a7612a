import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import {
  allowedImports,
  barrelViolations,
  dependencyViolations,
  emptyTestViolations,
  fileLinesMax,
  impurityViolations,
  importsOf,
  lengthViolations,
  nameViolations,
  pureTypesViolations,
  readmeViolations,
  textViolations,
  type SourceFile,
} from './architecture/rules.ts';

/** Files that may have more than `fileLinesMax` lines, each with its reason. */
const longerFiles: Readonly<Record<string, string>> = {};

const root = fileURLToPath(new URL('..', import.meta.url));
const rulesPath = 'test/architecture/rules.ts';

function checkout(): readonly SourceFile[] {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    maxBuffer: 64 * 2 ** 20,
  });
  return listed
    .toString()
    .split('\0')
    .filter((path) => /\.(ts|tsx|mjs|js|json|md|c|h|sh|yaml|yml)$|(^|\/)(Makefile|Dockerfile|setup|run)$/.test(path))
    .filter((path) => path !== 'package-lock.json' && existsSync(root + path))
    .map((path) => ({ path, text: readFileSync(root + path, 'utf8') }));
}

const files = checkout();
const none: readonly string[] = [];

describe('the checkout keeps the house rules', () => {
  test('there are files to judge', () => assert.ok(files.length > 20, `${files.length} files`));
  test('packages import only what the design lets them', () => assert.deepEqual(dependencyViolations(files), none));
  test('every package is in the table of dependencies', () => {
    const packages = new Set(
      files
        .map((file) => /^packages\/([^/]+)\/package\.json$/.exec(file.path)?.[1])
        .filter((name) => name !== undefined),
    );
    assert.deepEqual(
      [...packages].filter((name) => allowedImports[name] === undefined),
      none,
    );
  });
  test('pure packages do without Node and its globals', () => assert.deepEqual(pureTypesViolations(files), none));
  test('pure packages take time and randomness as arguments', () => assert.deepEqual(impurityViolations(files), none));
  test(`no file has more than ${fileLinesMax} lines without a reason`, () =>
    assert.deepEqual(lengthViolations(files, longerFiles), none));
  test('no barrels but the package entries', () => assert.deepEqual(barrelViolations(files), none));
  test('names say what is inside', () => assert.deepEqual(nameViolations(files), none));
  test('every package has a README', () => assert.deepEqual(readmeViolations(files), none));
  test('every test file declares a test', () => assert.deepEqual(emptyTestViolations(files), none));
  test('no machine paths, nothing unfinished, no lonely tests', () => {
    assert.deepEqual(
      textViolations(files.filter((file) => file.path !== rulesPath && file.path !== 'test/architecture.test.ts')),
      none,
    );
  });
});

const manifest = (name: string, dependencies: Readonly<Record<string, string>>): SourceFile => ({
  path: `packages/${name}/package.json`,
  text: JSON.stringify({ name: `@bulkhead/${name}`, dependencies }),
});
const source = (path: string, text: string): SourceFile => ({ path, text });

describe('the rules find what is planted', () => {
  test('imports are found in every form', () => {
    const text = [
      "import a from 'one';",
      "import type { b } from 'two';",
      'import {\n  c,\n} from "three";',
      "import 'four';",
      "export { d } from 'five';",
      "const e = await import('six');",
      "export const f = 'no import';",
    ].join('\n');
    assert.deepEqual(importsOf(text).toSorted(), ['one', 'two', 'three', 'four', 'five', 'six'].toSorted());
  });

  const plantedImports: readonly (readonly [string, readonly SourceFile[], RegExp])[] = [
    [
      'a forbidden package',
      [manifest('cli', {}), source('packages/cli/src/a.ts', "import { x } from '@bulkhead/manager';")],
      /cli may not import manager/,
    ],
    [
      'a forbidden declared dependency',
      [manifest('policy', { '@bulkhead/kernel': '0.1.0' })],
      /policy may not depend on kernel/,
    ],
    ['a range as version', [manifest('cli', { ws: '^8.0.0' })], /no exact version/],
    [
      'an undeclared module',
      [manifest('agent', {}), source('packages/agent/src/a.ts', "import ws from 'ws';")],
      /ws is not in the dependencies/,
    ],
    [
      'a path into another package',
      [manifest('cli', {}), source('packages/cli/src/a.ts', "import { x } from '../../manager/src/main.ts';")],
      /leaves the package/,
    ],
    [
      'a deep import',
      [
        manifest('agent', { '@bulkhead/policy': '0.1.0' }),
        source('packages/agent/src/a.ts', "import { x } from '@bulkhead/policy/src/model.ts';"),
      ],
      /goes past the entry/,
    ],
    [
      'Node in a pure package',
      [manifest('policy', {}), source('packages/policy/src/a.ts', "import { readFileSync } from 'node:fs';")],
      /policy is pure/,
    ],
    [
      'a package of its own name',
      [manifest('policy', {}), source('packages/policy/src/a.ts', "import { x } from '@bulkhead/policy';")],
      /its own package/,
    ],
  ];
  for (const [name, planted, expected] of plantedImports) {
    test(name, () => {
      const violations = dependencyViolations(planted);
      assert.equal(violations.length, 1);
      assert.match(violations[0]!, expected);
    });
  }

  test('what is right is left alone', () => {
    const right = [
      manifest('agent', { '@bulkhead/policy': '0.1.0', ws: '8.23.0' }),
      source(
        'packages/agent/src/a.ts',
        "import { x } from '@bulkhead/policy';\nimport ws from 'ws';\nimport './b.ts';\nimport fs from 'node:fs';",
      ),
      source('package.json', JSON.stringify({ devDependencies: { 'fast-check': '4.0.0' } })),
      source('packages/agent/src/a.test.ts', "import fc from 'fast-check';"),
    ];
    assert.deepEqual(dependencyViolations(right), none);
  });

  const planted: readonly (readonly [string, () => readonly string[]])[] = [
    [
      'Node types in a pure package',
      () => pureTypesViolations([source('packages/policy/tsconfig.json', '{"compilerOptions": {"types": ["node"]}}')]),
    ],
    [
      'a clock in a pure package',
      () => impurityViolations([source('packages/policy/src/a.ts', 'const now = Date.now();')]),
    ],
    [
      'randomness in a pure package',
      () => impurityViolations([source('packages/protocol/src/a.ts', 'const id = crypto.randomUUID();')]),
    ],
    ['a long file', () => lengthViolations([source('packages/cli/src/a.ts', 'x\n'.repeat(fileLinesMax + 1))], {})],
    [
      'a needless exception',
      () => lengthViolations([source('packages/cli/src/a.ts', 'x\n')], { 'packages/cli/src/a.ts': 'because' }),
    ],
    ['an exception for nothing', () => lengthViolations([], { 'packages/cli/src/a.ts': 'because' })],
    ['a barrel', () => barrelViolations([source('packages/cli/src/output/all.ts', "export * from './table.ts';")])],
    ['a second index', () => barrelViolations([source('packages/cli/src/output/index.ts', 'export const a = 1;')])],
    ['an empty name', () => nameViolations([source('packages/cli/src/utils.ts', '')])],
    ['an empty folder name', () => nameViolations([source('packages/cli/src/helpers/a.ts', '')])],
    ['a package without README', () => readmeViolations([source('packages/cli/src/a.ts', '')])],
    [
      'a test file without a test',
      () => emptyTestViolations([source('test/a.test.ts', "import { test } from 'node:test';")]),
    ],
    ['a path of one machine', () => textViolations([source('docs/a.md', 'see /home/someone/file')])],
    ['unfinished work', () => textViolations([source('packages/cli/src/a.ts', `// ${'TO'}DO later`)])],
    ['a lonely test', () => textViolations([source('test/a.test.ts', "test.only('a', () => {});")])],
  ];
  for (const [name, violations] of planted) {
    test(name, () => assert.equal(violations().length, 1));
  }

  test('paths that only look like one machine are left alone', () => {
    assert.deepEqual(
      textViolations([source('a.md', 'network/work/load, ~/work/x and https://example.org/home/page')]),
      none,
    );
  });
});
