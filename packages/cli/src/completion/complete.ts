/**
 * What can follow on a command line, from the tree of commands itself. The shells' scripts ask `bulkhead __complete -- WORD…`, the last
 * word being the one that is typed; so a new command or option is completed without touching them.
 */
import type { Argument, Command, Option } from 'commander';

/** Names that only a manager knows, asked for with a short deadline. Gives nothing rather than an error. */
export type LookUp = (kind: string) => Promise<readonly string[]>;

/** Longest list that is offered. */
const offersMax = 200;

export async function complete(program: Command, words: readonly string[], lookUp: LookUp): Promise<readonly string[]> {
  const typed = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const { command, operands, pending } = walk(program, before);
  const offers = await offersFor(command, operands, pending, typed, lookUp);
  return [...new Set(offers)].filter((offer) => offer.startsWith(typed)).slice(0, offersMax);
}

async function offersFor(
  command: Command,
  operands: readonly string[],
  pending: Option | undefined,
  typed: string,
  lookUp: LookUp,
): Promise<readonly string[]> {
  if (pending !== undefined) return pending.argChoices ?? [];
  if (typed.startsWith('-')) return optionNames(command);
  const subcommands = command.commands.filter((each) => !isHidden(each)).map((each) => each.name());
  if (subcommands.length > 0) return operands.length === 0 ? subcommands : [];
  const argument = argumentAt(command, operands.length);
  if (argument === undefined) return [];
  if (argument.argChoices !== undefined) return argument.argChoices;
  return lookUp(kindOf(argument, operands));
}

/** An argument called `name` completes by the kind before it (`get KIND NAME`), any other by what it is called (`workload`). */
function kindOf(argument: Argument, operands: readonly string[]): string {
  return argument.name() === 'name' ? (operands.at(-1) ?? '') : argument.name();
}

function argumentAt(command: Command, index: number): Argument | undefined {
  const { registeredArguments } = command;
  const last = registeredArguments.at(-1);
  return registeredArguments[index] ?? (last?.variadic === true ? last : undefined);
}

function optionNames(command: Command): readonly string[] {
  const names: string[] = ['--help'];
  for (let each: Command | null = command; each !== null; each = each.parent) {
    for (const option of each.options)
      if (!option.hidden && option.long !== undefined && option.long !== null) names.push(option.long);
  }
  return names;
}

const isHidden = (command: Command): boolean => command.name().startsWith('__');

interface Position {
  readonly command: Command;
  readonly operands: readonly string[];
  /** An option before the typed word that waits for its value. */
  readonly pending: Option | undefined;
}

function walk(program: Command, words: readonly string[]): Position {
  let command = program;
  let operands: string[] = [];
  let pending: Option | undefined;
  for (const word of words) {
    if (pending !== undefined) {
      pending = undefined;
    } else if (word.startsWith('-')) {
      const option = findOption(command, word);
      pending =
        option !== undefined && (option.required || option.optional) && !word.includes('=') ? option : undefined;
    } else {
      const next = command.commands.find((each) => each.name() === word || each.aliases().includes(word));
      if (next === undefined) operands.push(word);
      else {
        command = next;
        operands = [];
      }
    }
  }
  return { command, operands, pending };
}

function findOption(command: Command, word: string): Option | undefined {
  const name = word.split('=')[0]!;
  for (let each: Command | null = command; each !== null; each = each.parent) {
    const found = each.options.find((option) => option.long === name || option.short === name);
    if (found !== undefined) return found;
  }
  return undefined;
}
