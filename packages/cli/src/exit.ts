/** How a command ends: the codes are part of the interface, `bulkhead --help` tells them. */
export const exitCodes = {
  ok: 0,
  /** Anything that has no code of its own; with `diff`: there are differences. */
  failed: 1,
  /** Wrong command line. */
  usage: 2,
  /** A document or a value was refused; nothing was changed. */
  invalid: 3,
  /** The token is missing, unknown or its role or scope does not allow it. */
  forbidden: 4,
  /** The manager, the agent or the engine cannot be reached. */
  unreachable: 5,
  notFound: 6,
  /** Somebody else was faster: already answered, already exists, changed meanwhile. */
  conflict: 7,
  timedOut: 8,
  interrupted: 130,
} as const;
export type ExitName = keyof typeof exitCodes;

export interface Fault {
  /** Where it is, e.g. `policy.yaml: spec.rules[2].ports[0].port`. */
  readonly where?: string;
  /** What is wrong, and why. */
  readonly what: string;
  /** What to do about it. */
  readonly remedy?: string;
}

/** An expected end of a command other than success. What is printed is made from its parts; there is no stack trace. */
export class CommandFailure extends Error {
  readonly exit: ExitName;
  readonly faults: readonly Fault[];
  readonly remedy: string | undefined;
  constructor(
    exit: ExitName,
    message: string,
    options: { readonly faults?: readonly Fault[]; readonly remedy?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CommandFailure';
    this.exit = exit;
    this.faults = options.faults ?? [];
    this.remedy = options.remedy;
  }
}

/** A command that did what it should and found what its exit code tells, as diff(1) does: nothing more is printed. */
export class CommandResult extends Error {
  readonly exit: ExitName;
  constructor(exit: ExitName) {
    super(`the command ended with ${exit}`);
    this.name = 'CommandResult';
    this.exit = exit;
  }
}

/** The lines that a person reads when a command fails. */
export function describeError(error: CommandFailure): readonly string[] {
  const lines = [`bulkhead: ${error.message}`];
  for (const fault of error.faults) {
    lines.push(fault.where === undefined ? `  ${fault.what}` : `  ${fault.where}: ${fault.what}`);
    if (fault.remedy !== undefined) lines.push(`    ${fault.remedy}`);
  }
  if (error.remedy !== undefined) lines.push(`  ${error.remedy}`);
  return lines;
}
