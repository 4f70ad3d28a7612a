import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { Argument, Command, Option } from 'commander';
import { complete, type LookUp } from './complete.ts';
import { completionScripts, completionShells } from './scripts.ts';

function tree(): Command {
  const program = new Command('bulkhead').addOption(new Option('-o, --output <format>').choices(['table', 'json']));
  program
    .command('get')
    .addArgument(new Argument('<kind>').choices(['workloads', 'hosts']))
    .argument('[name]')
    .option('-w, --watch', 'watch');
  program.command('adopt').argument('<workload>');
  program.command('audit').command('verify').argument('<file>');
  program.command('__complete', { hidden: true });
  return program;
}

const names: LookUp = async (kind) => (kind === 'workloads' || kind === 'workload' ? ['web', 'desk'] : []);

describe('completion', () => {
  const said: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ['commands, without the hidden one', [''], ['get', 'adopt', 'audit']],
    ['a part of a command', ['ad'], ['adopt']],
    ['commands of a family', ['audit', ''], ['verify']],
    ['kinds', ['get', 'h'], ['hosts']],
    ['names of the kind before', ['get', 'workloads', ''], ['web', 'desk']],
    ['names by what the argument is', ['adopt', 'd'], ['desk']],
    ['options of the command and of the program', ['get', '--'], ['--help', '--watch', '--output']],
    ['values of an option', ['get', '--output', ''], ['table', 'json']],
    ['an option in between changes nothing', ['get', '-o', 'json', 'workloads', 'w'], ['web']],
    ['nothing where nothing is known', ['get', 'hosts', ''], []],
  ];
  for (const [name, words, offers] of said)
    test(name, async () => assert.deepEqual(await complete(tree(), words, names), offers));

  test('the scripts are sound', () => {
    execFileSync('bash', ['-n'], { input: completionScripts.bash });
    for (const shell of completionShells) assert.match(completionScripts[shell], /bulkhead __complete/);
  });
});
