import { Argument, type Command } from 'commander';
import { documentJsonSchema, documentKinds } from '@bulkhead/policy';
import { CommandFailure } from '../exit.ts';
import { stableJson, yamlText } from '../output/format.ts';
import { documentKind } from '../resources/document-kinds.ts';
import { examples, type Registration } from '../shell.ts';
import { outputFormatOf } from './options.ts';

export const registerSchema: Registration = (program, shell) => {
  const command = program
    .command('schema')
    .description('JSON Schema of documents, for editors. Needs no manager')
    .addArgument(new Argument('[kind]', `one of ${documentKinds.join(', ')}; all where it is left out`))
    .action((kind: string | undefined, _options: unknown, self: Command) => {
      const schema = documentJsonSchema(kind === undefined ? undefined : (documentKind(kind) ?? kind));
      if (schema === null)
        throw new CommandFailure('usage', `${kind} is no kind of document`, { remedy: documentKinds.join(', ') });
      shell.terminal.out(outputFormatOf(self) === 'yaml' ? yamlText(schema) : stableJson(schema));
    });
  examples(command, [
    ['bulkhead schema > bulkhead.schema.json', 'for yaml-language-server: # yaml-language-server: $schema=FILE'],
    ['bulkhead schema policy', 'one kind'],
  ]);
};
