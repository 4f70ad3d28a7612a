/** Options of the process: flags before environment before file before defaults. */
import { logLevels } from './log-levels.ts';
import type { LogLevel } from './log-levels.ts';
import type { ListenAddress } from './manager.ts';

export interface ProcessOptions {
  readonly dataDirectory: string;
  readonly link: ListenAddress;
  readonly api: ListenAddress;
  /** `default`: in the data directory. Null: none. */
  readonly socket: string | null;
  readonly names: readonly string[];
  readonly logLevel: LogLevel;
}

export interface Flags {
  readonly data?: string | undefined;
  readonly link?: string | undefined;
  readonly api?: string | undefined;
  readonly socket?: string | undefined;
  readonly name?: readonly string[] | undefined;
  readonly log?: string | undefined;
}

/** What was written cannot be meant; the message says where and what is allowed. */
export class OptionError extends Error {
  constructor(where: string, why: string) {
    super(`${where}: ${why}`);
    this.name = 'OptionError';
  }
}

const fileKeys = ['data', 'link', 'api', 'socket', 'names', 'log'] as const;

/** `file` is the text of the configuration file, null where none is named. */
export function readOptions(
  flags: Flags,
  environment: Readonly<Record<string, string | undefined>>,
  file: string | null,
): ProcessOptions {
  const fromFile = file === null ? {} : readFile(file);
  const pick = (
    flag: 'data' | 'link' | 'api' | 'socket' | 'log',
    fallback: string,
  ): readonly [where: string, value: string] => {
    const variable = `BULKHEAD_MANAGER_${flag.toUpperCase()}`;
    if (flags[flag] !== undefined) return [`--${flag}`, flags[flag]];
    if (environment[variable] !== undefined) return [variable, environment[variable]];
    const value = fromFile[flag];
    if (value === undefined) return [flag, fallback];
    if (typeof value !== 'string') throw new OptionError(`config ${flag}`, 'must be text');
    return [`config ${flag}`, value];
  };
  const [logWhere, log] = pick('log', 'info');
  const logLevel = logLevels.find((level) => level === log);
  if (logLevel === undefined) throw new OptionError(logWhere, `"${log}" is none of ${logLevels.join(', ')}`);
  const [, socket] = pick('socket', 'default');
  return {
    dataDirectory: pick('data', '/var/lib/bulkhead/manager')[1],
    link: readAddress(...pick('link', '127.0.0.1:7443')),
    api: readAddress(...pick('api', '127.0.0.1:7444')),
    socket: socket === 'none' ? null : socket,
    names:
      flags.name ?? environment['BULKHEAD_MANAGER_NAMES']?.split(',').filter(Boolean) ?? namesOf(fromFile['names']),
    logLevel,
  };
}

function readAddress(where: string, text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new OptionError(where, `"${text}" is no address; allowed: HOST:PORT or [IPV6]:PORT, e.g. 127.0.0.1:7443`);
  }
  return { address: (match[1] ?? match[2])!, port };
}

function namesOf(value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((name) => typeof name === 'string')) return value;
  throw new OptionError('config names', 'must be a list of texts');
}

function readFile(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new OptionError('config', `is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new OptionError('config', 'must be an object');
  const unknown = Object.keys(value).find((key) => !(fileKeys as readonly string[]).includes(key));
  if (unknown !== undefined)
    throw new OptionError(`config ${unknown}`, `is not known; allowed: ${fileKeys.join(', ')}`);
  return value as Record<string, unknown>;
}
