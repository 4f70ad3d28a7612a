/** The manager's process: reads options, starts, ends cleanly on a signal. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { destination } from 'pino';
import { releaseIdleMemory } from './idle-memory.ts';
import { createLogger } from './logger.ts';
import { startManager } from './start.ts';
import { OptionError, readOptions } from './options.ts';
import { StoreError } from './store/ledger.ts';

const help = `Usage: bulkhead-manager [options]

  --data DIR        where everything is kept (default /var/lib/bulkhead/manager)
  --link HOST:PORT  where agents connect (default 127.0.0.1:7443)
  --api HOST:PORT   where people and tools connect (default 127.0.0.1:7444)
  --socket PATH     the API as a socket file too (default DATA/api.sock; "none" for none)
  --name NAME       a DNS name or address that the certificate is for; may be repeated
  --config FILE     the same options as JSON: {"data": …, "link": …, "api": …, "socket": …, "names": […]}
  --log LEVEL       trace, debug, info (default), warn, error, silent
  --help

A flag counts before BULKHEAD_MANAGER_DATA, _LINK, _API, _SOCKET, _NAMES (commas), _LOG, and these before the file.
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      link: { type: 'string' },
      api: { type: 'string' },
      socket: { type: 'string' },
      name: { type: 'string', multiple: true },
      config: { type: 'string' },
      log: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) {
    process.stdout.write(help);
    return;
  }
  // The stores hold who talks to whom: in a directory that somebody made readable for all, they are still nobody else's.
  process.umask(0o077);
  const file = values.config === undefined ? null : readFileSync(values.config, 'utf8');
  const options = readOptions(values, process.env, file);
  const logger = createLogger(options.logLevel, destination({ dest: 2, sync: false }));
  const socketPath = options.socket === 'default' ? join(options.dataDirectory, 'api.sock') : options.socket;
  const manager = await startManager({ ...options, socketPath, logger });
  const releasing = releaseIdleMemory();
  const stop = (signal: string) => {
    releasing[Symbol.dispose]();
    logger.info({ signal }, 'ending');
    manager[Symbol.asyncDispose]().then(
      () => process.exit(0),
      (error: unknown) => {
        logger.fatal({ error }, 'did not end cleanly');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

main().catch((error: unknown) => {
  process.stderr.write(`bulkhead-manager: ${messageOf(error)}\n`);
  process.exitCode = isUsage(error) ? 2 : 1;
});

function isUsage(error: unknown): boolean {
  return error instanceof OptionError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') === true;
}

/** What the environment refused needs no stack: a port in use, a directory in use, a file that cannot be read. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const expected = isUsage(error) || error instanceof StoreError || 'errno' in error;
  return expected ? error.message : (error.stack ?? error.message);
}
