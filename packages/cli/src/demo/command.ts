import { execFile } from 'node:child_process';

/** Largest output of a command that is kept, bytes. */
const outputBytesMax = 16 * 1024 * 1024;
const commandMs = 120_000;

export class CommandError extends Error {
  readonly command: string;
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
  constructor(
    command: string,
    exitCode: number | null,
    output: { readonly stdout: string; readonly stderr: string },
    options?: ErrorOptions,
  ) {
    const { stdout, stderr } = output;
    super(`${command}: exit ${exitCode ?? 'by signal'}: ${stderr.trim()}`, options);
    this.name = 'CommandError';
    this.command = command;
    this.exitCode = exitCode;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

/** Runs a command to its end and returns its standard output, trimmed. Rejects with `CommandError` unless it exits with 0. */
export function run(
  command: string,
  args: readonly string[],
  options: {
    readonly environment?: Readonly<Record<string, string>>;
    readonly timeoutMs?: number;
    readonly input?: string;
  } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      args,
      {
        env: { ...process.env, ...options.environment },
        maxBuffer: outputBytesMax,
        timeout: options.timeoutMs ?? commandMs,
        encoding: 'utf8',
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout.trim());
        reject(
          new CommandError(
            [command, ...args].join(' '),
            typeof error.code === 'number' ? error.code : null,
            { stdout: stdout.trim(), stderr: stderr || error.message },
            { cause: error },
          ),
        );
      },
    );
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input ?? '');
  });
}
