import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Command } from 'commander';
import { plain } from './output/paint.ts';
import { createProgram, runProgram } from './program.ts';
import type { Shell } from './shell.ts';

function recorder(): { readonly shell: Shell; readonly out: string[]; readonly err: string[] } {
  const out: string[] = [];
  const err: string[] = [];
  const shell: Shell = {
    terminal: {
      out: (line) => out.push(line),
      err: (line) => err.push(line),
      ...{ paint: plain, errPaint: plain, width: undefined, height: undefined, interactive: false },
      clear: () => undefined,
      progress: () => ({ update: () => undefined, end: () => undefined }),
    },
    environment: { BULKHEAD_CONFIG: '/nowhere/config' },
    nowMs: () => 0,
    signal: new AbortController().signal,
  };
  return { shell, out, err };
}

/** Commands that do something, families left out. */
function leaves(command: Command, path: readonly string[] = []): readonly (readonly string[])[] {
  if (command.commands.length === 0) return [path];
  return command.commands
    .filter((each) => !each.name().startsWith('__'))
    .flatMap((each) => leaves(each, [...path, each.name()]));
}

/** So plain that the description says it all. */
const plainCommands = new Set(['detach', 'token end', 'audit key', 'context list', 'context use', 'context remove']);

describe('every command', () => {
  const all = leaves(createProgram(recorder().shell));

  test('is there', () => {
    const wanted =
      'up agent manager enroll apply diff get describe delete flows questions approve refuse explain divergence adopt attach status top doctor off on down completion';
    for (const name of wanted.split(' '))
      assert.ok(
        all.some((path) => path.join(' ') === name),
        name,
      );
    assert.ok(all.some((path) => path.join(' ') === 'audit verify'));
  });

  for (const path of all.filter((each) => !['manager', 'agent'].includes(each[0]!))) {
    test(`${path.join(' ')}: help, with examples`, async () => {
      const { shell, out } = recorder();
      assert.equal(await runProgram([...path, '--help'], shell), 0);
      assert.match(out.join('\n'), new RegExp(`Usage: bulkhead ${path.join(' ')}`));
      if (!plainCommands.has(path.join(' '))) assert.match(out.join('\n'), /Examples:/);
    });
  }
});

describe('a wrong command line', () => {
  const wrong: readonly (readonly string[])[] = [
    ['nonsense'],
    ['get'],
    ['get', 'nonsense'],
    ['apply'],
    ['flows', '--verdict', 'perhaps'],
    ['flows', '--since', 'yesterday'],
    ['off', '--because', 'x'],
    ['attach', 'a'],
    ['delete', 'policy'],
    ['delete', 'workload', 'a'],
    ['delete', 'policy', 'a', '-f', 'x.yaml'],
    ['explain', '--from', 'a=b,=', '--to', 'c'],
    ['status', '-o', 'xml'],
    ['status', '--server', 'http://plain'],
    ['status', '--context', 'nobody'],
    ['completion', 'tcsh'],
  ];
  for (const words of wrong) {
    test(`${words.join(' ')} ends with 2 and says why`, async () => {
      const { shell, err } = recorder();
      assert.equal(await runProgram(words, shell), 2);
      assert.ok(err.length > 0);
    });
  }

  test('a slip is answered with what was meant', async () => {
    const { shell, err } = recorder();
    await runProgram(['aply'], shell);
    assert.match(err.join('\n'), /apply/);
    await runProgram(['get', 'polices'], shell);
    assert.match(err.join('\n'), /Did you mean policies\?/);
  });

  test('the version is told', async () => {
    const { shell, out } = recorder();
    assert.equal(await runProgram(['--version'], shell), 0);
    assert.match(out.join('\n'), /^\d+\.\d+\.\d+$/);
  });

  test('help says the exit codes', async () => {
    const { shell, out } = recorder();
    assert.equal(await runProgram(['--help'], shell), 0);
    assert.match(out.join('\n'), /Exit codes:/);
  });
});
