import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { verifyAuditFile } from '../audit/verify-file.ts';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { CommandFailure } from '../exit.ts';
import { printValue, stableJson } from '../output/format.ts';
import { plural } from '../output/units.ts';
import { examples, type Registration } from '../shell.ts';
import { outputFormatOf } from './options.ts';

const gather = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

export const registerAudit: Registration = (program, shell) => {
  const audit = program.command('audit').description('The audit log: export, key, verify (list: bulkhead get audit)');

  const exported = audit
    .command('export')
    .description('The whole log, one JSON object a line, its signed head last')
    .action(async (_options: unknown, self: Command) => {
      const { api } = await connect(self, shell);
      for await (const line of valueOf(await api.exportAudit())) shell.terminal.out(JSON.stringify(line));
    });
  examples(exported, [['bulkhead audit export > audit.log', 'keep it where the manager cannot reach']]);

  audit
    .command('key')
    .description(
      'Write the public key, and the heads that hosts have witnessed, to files; before an export, since the log grows',
    )
    .argument('<key-file>')
    .argument('[witness-file]')
    .action(async (keyFile: string, witnessFile: string | undefined, _options: unknown, self: Command) => {
      const { api } = await connect(self, shell);
      const head = valueOf(await api.getAuditHead());
      await writeFile(keyFile, head.publicKey);
      if (witnessFile !== undefined)
        await writeFile(witnessFile, head.witnesses.map((witness) => `${stableJson(witness, 0)}\n`).join(''));
      shell.terminal.err(`key of ${head.writer}; ${plural(head.witnesses.length, 'witnessed head')}`);
    });

  const verify = audit
    .command('verify')
    .description('Check an exported log, without any manager: nothing changed, missing, cut or rewritten')
    .argument('<log-file>')
    .requiredOption('--key <file>', "the manager's public key (bulkhead audit key)")
    .option('--witness <file>', 'heads that hosts witnessed; may be repeated', gather)
    .action(
      async (
        logFile: string,
        options: { readonly key: string; readonly witness?: readonly string[] },
        self: Command,
      ) => {
        const verdict = await verifyAuditFile({ logFile, keyFile: options.key, witnessFiles: options.witness ?? [] });
        printValue(shell.terminal, outputFormatOf(self), verdict, () =>
          verdict.kind === 'intact'
            ? [
                `${shell.terminal.paint('good', 'intact')}: ${plural(verdict.lines, 'line')}, ${plural(verdict.witnessed, 'witnessed head')} in it`,
              ]
            : [],
        );
        if (verdict.kind === 'broken')
          throw new CommandFailure('failed', 'the log was tampered with, or is not complete', {
            faults: [{ where: `${logFile}:${verdict.line}`, what: verdict.why }],
          });
      },
    );
  examples(verify, [
    ['bulkhead audit verify audit.log --key manager.pem', 'the chain and its head'],
    ['bulkhead audit verify audit.log --key manager.pem --witness heads.ndjson', 'and what hosts saw of it'],
  ]);
};
