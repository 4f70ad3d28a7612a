import { Argument, type Command } from 'commander';
import { complete, type LookUp } from '../completion/complete.ts';
import { completionScripts, completionShells, type CompletionShell } from '../completion/scripts.ts';
import { examples, type Shell } from '../shell.ts';

export function registerCompletion(program: Command, shell: Shell, lookUp: LookUp): void {
  const command = program
    .command('completion')
    .description('Print the completion script of a shell')
    .addArgument(new Argument('<shell>', 'which shell').choices(completionShells))
    .action((name: CompletionShell) => shell.terminal.out(completionScripts[name].trimEnd()));
  examples(command, [
    ['source <(bulkhead completion bash)', 'complete in this shell'],
    ['bulkhead completion bash > /etc/bash_completion.d/bulkhead', 'complete in every new one'],
    ['bulkhead completion fish | source', 'the same for fish'],
  ]);
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .action(async (words: readonly string[]) => {
      for (const offer of await complete(program, words.length === 0 ? [''] : words, lookUp)) shell.terminal.out(offer);
    });
}
