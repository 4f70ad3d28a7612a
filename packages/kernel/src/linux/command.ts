/** Runs the system's own network tools, by absolute path, without a shell, and types their failures. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { KernelError } from '../port.ts';

const directories = ['/usr/sbin', '/sbin', '/usr/bin', '/bin'];
const outputBytesMax = 256 * 1024 * 1024;
const timeoutMs = 30_000;
const environment = { PATH: directories.join(':'), LC_ALL: 'C' };

const found = new Map<string, string>();
function executable(name: string): string {
  let path = found.get(name);
  if (path === undefined) {
    path = directories.map((directory) => `${directory}/${name}`).find((candidate) => existsSync(candidate));
    if (path === undefined) throw new KernelError(`run ${name}`, 'ENOENT', { detail: 'the executable is missing' });
    found.set(name, path);
  }
  return path;
}

/** What the tools print, as errno. Both iproute2 and nft print strerror()'s text. */
const errorTexts: readonly (readonly [RegExp, string])[] = [
  [/File exists|Exclusivity flag on/, 'EEXIST'],
  [/Cannot find device|does not exist|No such device/, 'ENODEV'],
  [/No such process/, 'ESRCH'],
  [/No such file or directory|Invalid handle|Cannot find specified (qdisc|filter)/, 'ENOENT'],
  [/Cannot assign requested address|[Aa]ddress not found/, 'EADDRNOTAVAIL'],
  [/Network is (down|unreachable)|nexthop is not up/, 'ENETDOWN'],
  [/Operation not permitted/, 'EPERM'],
  [/Device or resource busy/, 'EBUSY'],
  [/No buffer space|Cannot allocate memory/, 'ENOMEM'],
  [/Invalid argument|syntax error|prefix is expected/, 'EINVAL'],
  [/not supported/, 'EOPNOTSUPP'],
];

/** The first complaint that the text is known for, as a typed error; EIO where the text is new. */
export function toolError(operation: string, text: string, cause?: unknown): KernelError {
  const code = errorTexts.find(([pattern]) => pattern.test(text))?.[1] ?? 'EIO';
  return new KernelError(operation, code, { detail: text.trim().slice(0, 2000), cause });
}

export interface Finished {
  readonly failed: boolean;
  readonly output: string;
  readonly complaint: string;
}

/** Runs the tool to its end. Rejects only when it could not be run, was killed or took too long. */
export function runTool(name: string, args: readonly string[], input = ''): Promise<Finished> {
  const path = executable(name);
  return new Promise((resolve, reject) => {
    const options = { env: environment, maxBuffer: outputBytesMax, timeout: timeoutMs, encoding: 'utf8' } as const;
    const child = execFile(path, args, options, (error, output, complaint) => {
      if (error !== null && typeof error.code !== 'number') {
        reject(new KernelError(`run ${name}`, String(error.code ?? error.signal ?? 'EIO'), { cause: error }));
      } else {
        resolve({ failed: error !== null, output, complaint });
      }
    });
    // A tool that ends before it has read everything is judged by its exit code, not by the pipe.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** The same for callers that may not wait (attachments on kernels without tcx). */
export function runToolSync(name: string, args: readonly string[]): Finished {
  try {
    const output = execFileSync(executable(name), args, {
      env: environment,
      maxBuffer: outputBytesMax,
      timeout: timeoutMs,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return { failed: false, output, complaint: '' };
  } catch (error) {
    if (error instanceof Error && 'status' in error && typeof error.status === 'number' && 'stderr' in error) {
      return { failed: true, output: '', complaint: String(error.stderr) };
    }
    throw new KernelError(`run ${name}`, 'EIO', { cause: error });
  }
}
