/** The trading floor in an engine: its images, its network, its containers. */
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './command.ts';
import { networkArguments, parseCompose, runArguments, type ComposeFile } from './compose.ts';
import type { Engine } from './engine.ts';
import { buildPostgres, busyboxImage, importBusybox, postgresImage } from './images.ts';

export const floorDirectory = fileURLToPath(new URL('../../../../examples/trading-floor', import.meta.url));
export const documentsDirectory = join(floorDirectory, 'policy');

export type Report = (note: string) => void;

export async function readFloor(): Promise<ComposeFile> {
  return parseCompose(await readFile(join(floorDirectory, 'compose.yaml'), 'utf8'));
}

/** Builds every image of the floor: busybox and PostgreSQL of this machine, the probe between them and the applications. */
export async function buildImages(engine: Engine, report: Report): Promise<void> {
  report('busybox');
  await importBusybox(engine);
  report('PostgreSQL');
  await buildPostgres(engine);
  report('the probe');
  await buildBases(engine);
  for (const image of await applications()) {
    report(image);
    await engine.docker('build', '--quiet', '--tag', `trading-floor/${image}:1`, join(floorDirectory, 'images', image));
  }
}

async function applications(): Promise<readonly string[]> {
  const entries = await readdir(join(floorDirectory, 'images'), { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory() && entry.name !== 'toolbox').map((entry) => entry.name);
}

async function buildBases(engine: Engine): Promise<void> {
  const context = await mkdtemp(join(tmpdir(), 'bulkhead-base-'));
  try {
    await cp(join(floorDirectory, 'images/toolbox'), context, { recursive: true });
    await run('gcc', ['-static', '-O2', '-s', '-o', join(context, 'probe'), join(context, 'probe.c')]);
    for (const [tag, base] of [
      ['trading-floor/base:1', busyboxImage],
      ['trading-floor/postgres-base:1', postgresImage],
    ] as const) {
      const file = join(context, 'Dockerfile.base');
      await engine.docker('build', '--quiet', '--file', file, '--build-arg', `BASE=${base}`, '--tag', tag, context);
    }
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

export async function createNetworks(engine: Engine, floor: ComposeFile): Promise<void> {
  for (const [name, spec] of Object.entries(floor.networks))
    await engine.docker('network', 'create', ...networkArguments(name, spec));
}

export async function startContainers(engine: Engine, floor: ComposeFile, report: Report): Promise<void> {
  for (const [name, spec] of Object.entries(floor.services)) {
    report(name);
    await engine.docker('run', ...runArguments(name, spec));
  }
}
