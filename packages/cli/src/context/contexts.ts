/**
 * Which manager a command talks to, and as whom. A context is a name for both, kept in a small YAML file; flags and environment
 * variables come before it, and without any file the manager of this machine is meant.
 */
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { CommandFailure } from '../exit.ts';
import { localPaths } from '../local/paths.ts';

export const contextEntry = z.strictObject({
  /** `https://host:port` or `unix:///path`. */
  server: z.string().regex(/^(?:https:\/\/|unix:\/\/\/)/, 'must begin with https:// or unix:///'),
  /** File with the token: kept out of this file, so that this file can be shown. */
  tokenFile: z.string().optional(),
  /** The manager's certificate authority, PEM; without it the system's authorities count. */
  caFile: z.string().optional(),
});
export type ContextEntry = z.infer<typeof contextEntry>;

export const contextFile = z.strictObject({
  current: z.string().optional(),
  contexts: z.record(z.string().min(1), contextEntry).default({}),
});
export type ContextFile = z.infer<typeof contextFile>;

/** What a command line and its environment say about the manager. */
export interface ContextRequest {
  readonly context?: string | undefined;
  readonly server?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly caFile?: string | undefined;
}

export interface ChosenContext extends ContextEntry {
  readonly name: string;
}

/** Where the manager of this machine listens, and where its administrator's token lies: for root, without any configuration. */
export const localContext: ContextEntry = {
  server: `unix://${localPaths().managerSocket}`,
  tokenFile: localPaths().adminTokenFile,
  caFile: localPaths().authorityFile,
};

export function parseContextFile(text: string, path: string): ContextFile {
  let value: unknown;
  try {
    value = parse(text) ?? {};
  } catch (cause) {
    throw new CommandFailure('invalid', `${path} is not YAML`, {
      faults: [{ what: cause instanceof Error ? cause.message : String(cause) }],
      cause,
    });
  }
  const result = contextFile.safeParse(value);
  if (result.success) return result.data;
  throw new CommandFailure('invalid', `${path} is not a context file`, {
    faults: result.error.issues.map((issue) => ({ where: issue.path.join('.') || '(top)', what: issue.message })),
    remedy: 'It holds  current: NAME  and  contexts: {NAME: {server, tokenFile, caFile}}.',
  });
}

export const contextFileText = (file: ContextFile): string => stringify(file);

/** Flags over the named context over the current one over this machine's manager. */
export function chooseContext(file: ContextFile, request: ContextRequest): ChosenContext {
  const name = request.context ?? (request.server === undefined ? file.current : undefined);
  let base: ContextEntry | undefined;
  if (name !== undefined) {
    base = file.contexts[name] ?? (name === 'local' ? localContext : undefined);
    if (base === undefined) {
      const known = [...new Set([...Object.keys(file.contexts), 'local'])].toSorted().join(', ');
      throw new CommandFailure('usage', `there is no context ${JSON.stringify(name)}`, {
        remedy: `Known contexts: ${known}.`,
      });
    }
  }
  if (request.server !== undefined) {
    const checked = contextEntry.shape.server.safeParse(request.server);
    if (!checked.success) {
      throw new CommandFailure(
        'usage',
        `--server ${request.server}: ${checked.error.issues[0]?.message ?? 'is no address'}`,
      );
    }
  }
  const merged = { ...(base ?? (request.server === undefined ? localContext : undefined)) };
  const server = request.server ?? merged.server ?? localContext.server;
  const tokenFile = request.tokenFile ?? merged.tokenFile;
  const caFile = request.caFile ?? merged.caFile;
  return {
    name: name ?? (request.server === undefined ? 'local' : request.server),
    server,
    ...(tokenFile === undefined ? {} : { tokenFile }),
    ...(caFile === undefined ? {} : { caFile }),
  };
}
