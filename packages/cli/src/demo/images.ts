/**
 * Images made on this machine, since no registry is needed (or reached) for the demo and the tests: one from the static busybox, and
 * a layered one with the real PostgreSQL, copied together with the libraries that its executables are linked to.
 */
import { spawn } from 'node:child_process';
import { access, chmod, cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { run } from './command.ts';
import type { Engine } from './engine.ts';

export class ImageError extends Error {
  override readonly name = 'ImageError';
}

export const busyboxImage = 'bulkhead/busybox:1';
export const postgresImage = 'bulkhead/postgres:15';

const busyboxPath = '/bin/busybox';
const postgresHome = '/usr/lib/postgresql/15';
const postgresShare = '/usr/share/postgresql/15';
const zoneInfo = '/usr/share/zoneinfo';
/** Only what a server needs: the just-in-time compiler alone would bring 100 MB of libraries. */
const postgresBinaries = ['initdb', 'postgres', 'pg_ctl', 'psql', 'pg_isready', 'pgbench'];

/** Imports the busybox image. `changes` are Dockerfile instructions, e.g. `EXPOSE 80` or `LABEL a=b`. */
export async function importBusybox(
  engine: Engine,
  options: { readonly tag?: string; readonly changes?: readonly string[] } = {},
): Promise<string> {
  const tag = options.tag ?? busyboxImage;
  await withRoot(async (root) => {
    await layBusybox(root);
    await importRoot(engine, root, tag, options.changes ?? []);
  });
  return tag;
}

/** Builds the PostgreSQL image in two layers over the busybox image (which must exist): the server, and its start script. */
export async function buildPostgres(engine: Engine): Promise<string> {
  await needFiles([join(postgresHome, 'bin', 'postgres'), postgresShare], 'postgresql-15');
  await withRoot(async (context) => {
    await layPostgres(join(context, 'server'));
    await writeFile(join(context, 'start'), startPostgres, { mode: 0o755 });
    await writeFile(join(context, 'Dockerfile'), postgresDockerfile);
    await engine.docker('build', '--quiet', '--tag', postgresImage, context);
  });
  return postgresImage;
}

const postgresDockerfile = `FROM ${busyboxImage}
COPY server/ /
COPY start /usr/local/bin/start
ENV PATH=${postgresHome}/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data
EXPOSE 5432
CMD ["/usr/local/bin/start"]
`;

/** The password is the container's to give; without one only the local socket is trusted, and nobody gets in over the network. */
const startPostgres = `#!/bin/sh
set -e
mkdir -p "$PGDATA" /tmp
chmod 1777 /tmp
chown postgres:postgres /var/lib/postgresql "$PGDATA"
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf '%s' "\${POSTGRES_PASSWORD:-}" > /tmp/password
  chown postgres:postgres /tmp/password
  if [ -n "\${POSTGRES_PASSWORD:-}" ]; then set -- --auth-host=scram-sha-256 --pwfile=/tmp/password; else set -- --auth-host=reject; fi
  su -s /bin/sh postgres -c "PATH=$PATH exec initdb --no-sync --locale=C --encoding=UTF8 --auth-local=trust $* -D $PGDATA" >/dev/null
  rm -f /tmp/password
  # initdb admits the loopback addresses only: the wall in front of the others is the firewall's business, and the password's.
  if [ -n "\${POSTGRES_PASSWORD:-}" ]; then printf 'host all all all scram-sha-256\\n' >> "$PGDATA/pg_hba.conf"; fi
fi
exec su -s /bin/sh postgres -c "PATH=$PATH exec postgres -D $PGDATA -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off"
`;

async function layBusybox(root: string): Promise<void> {
  await needFiles([busyboxPath], 'busybox-static');
  for (const part of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'root', 'var/run', 'usr/bin'])
    await mkdir(join(root, part), { recursive: true });
  await chmod(join(root, 'tmp'), 0o1777);
  await cp(busyboxPath, join(root, 'bin', 'busybox'), { dereference: true });
  const applets = (await run(busyboxPath, ['--list'])).split('\n');
  for (const applet of applets) if (applet !== 'busybox') await symlink('busybox', join(root, 'bin', applet));
  await writeFile(
    join(root, 'etc', 'passwd'),
    'root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70:postgres:/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  );
  await writeFile(join(root, 'etc', 'group'), 'root:x:0:\npostgres:x:70:\nnogroup:x:65534:\n');
}

async function layPostgres(root: string): Promise<void> {
  const target = (path: string) => join(root, path);
  await mkdir(target(join(postgresHome, 'bin')), { recursive: true });
  await mkdir(target(join(postgresHome, 'lib')), { recursive: true });
  const sources = postgresBinaries.map((binary) => join(postgresHome, 'bin', binary));
  for (const module of await readdir(join(postgresHome, 'lib'))) {
    // Bitcode and the just-in-time compiler are left out; server modules are plain shared objects.
    if (module.endsWith('.so') && !module.startsWith('llvmjit')) sources.push(join(postgresHome, 'lib', module));
  }
  for (const source of sources) await cp(source, target(source), { dereference: true });
  await cp(postgresShare, target(postgresShare), { recursive: true, dereference: true });
  await mkdir(target(join(zoneInfo, 'Etc')), { recursive: true });
  await cp(join(zoneInfo, 'Etc', 'UTC'), target(join(zoneInfo, 'Etc', 'UTC')), { dereference: true });
  for (const library of await librariesOf(sources)) {
    await mkdir(dirname(target(library)), { recursive: true });
    await cp(library, target(library), { dereference: true });
  }
  await mkdir(target('/var/lib/postgresql'), { recursive: true });
}

/** Every shared library that the files need, and the program interpreter, as absolute paths. */
async function librariesOf(files: readonly string[]): Promise<readonly string[]> {
  const found = new Set<string>();
  const text = await run('ldd', [...files]);
  for (const line of text.split('\n')) {
    if (line.includes('not found')) throw new ImageError(`a library is missing: ${line.trim()}`);
    // Server modules may name symbols of the server itself; those lines have no path.
    const path = /(?:=> )?(\/[^\s:]+) \(0x/.exec(line)?.[1];
    if (path !== undefined) found.add(path);
  }
  return [...found].sort();
}

async function importRoot(engine: Engine, root: string, tag: string, changes: readonly string[]): Promise<void> {
  const flags = changes.flatMap((change) => ['--change', change]);
  const archive = spawn('tar', ['--create', '--numeric-owner', '--owner=0', '--group=0', '--directory', root, '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const load = spawn('docker', ['-H', `unix://${engine.socket}`, 'import', ...flags, '-', tag], {
    stdio: [archive.stdout, 'ignore', 'inherit'],
  });
  // The reading end is the import's alone, or it would never see the end of the archive when tar fails.
  archive.stdout.destroy();
  const [archived, loaded] = await Promise.all([exitOf(archive), exitOf(load)]);
  if (archived !== 0 || loaded !== 0)
    throw new ImageError(`image ${tag} could not be imported (tar ${archived}, docker import ${loaded})`);
}

function exitOf(child: ReturnType<typeof spawn>): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
}

async function needFiles(paths: readonly string[], debianPackage: string): Promise<void> {
  for (const path of paths) {
    await access(path).catch((cause: unknown) => {
      throw new ImageError(`${path} is missing: install the Debian package ${debianPackage}`, { cause });
    });
  }
}

async function withRoot(use: (root: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'bulkhead-image-'));
  try {
    await chmod(root, 0o755);
    await use(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}
