/** Loading, pinning and replacing of the programs, and the life of their maps across it. */
import { existsSync } from 'node:fs';
import { layout as codecLayout, mapNames, type MapName } from '../generated/maps.ts';
import { KernelError, type Programs } from '../port.ts';
import { btfOf, testRunProgram } from './bpf.ts';
import { parseBtf, type Btf } from './btf.ts';
import { layoutHash } from './layout.ts';
import { close } from './libc.ts';
import type { CurrentPrograms } from './links.ts';
import { migrateTable, type TypedTable } from './migrate.ts';
import { LoadedObject } from './object.ts';
import { readObjects, type ObjectFiles } from './object-files.ts';
import type { Pins } from './pins.ts';
import { closeTables, openTables, possibleCpus, type Tables } from './tables.ts';
import { Table } from './table.ts';

/** Maps whose contents mean nothing to another layout: scratch of the programs, and what is per processor. */
const notMigrated: ReadonlySet<MapName> = new Set([
  'events',
  'schema',
  'scratch',
  'runtime',
  'fragments',
  'counters',
  'interface_hints',
  'peer_hints',
  'cidr_generation',
]);

/** What follows the programs when they change. */
export interface Followers {
  /** New maps are to be used. */
  opened(tables: Tables): void;
  /** New programs are to run wherever programs of ours run. */
  replaced(): void;
  /** All attachments are to go. */
  cleared(): void;
  /** No maps are there any more. */
  closed(): void;
}

interface Loaded {
  readonly tables: Tables;
  readonly programs: ReadonlyMap<string, number>;
  readonly directory: string;
}

export class LinuxPrograms implements Programs, CurrentPrograms {
  readonly #pins: Pins;
  readonly #objectDirectory: string;
  readonly #followers: Followers;
  #loaded: Loaded | null = null;

  constructor(pins: Pins, objectDirectory: string, followers: Followers) {
    this.#pins = pins;
    this.#objectDirectory = objectDirectory;
    this.#followers = followers;
  }

  load(): ReturnType<Programs['load']> {
    const files = readObjects(this.#objectDirectory);
    const layout = layoutHash(files.btf);
    if (layout !== codecLayout) {
      throw new KernelError('load programs', 'EPROTO', {
        detail: `objects have layout ${layout}, this version reads ${codecLayout}`,
      });
    }
    this.#pins.prepare();
    const before = this.#pins.layouts();
    const others = before.filter((name) => name !== layout);
    const directory = this.#pins.programs(layout, files.hash);
    const reopened = before.includes(layout) && existsSync(directory);
    if (!reopened) this.#publish(files, layout, others);
    this.close();
    const tables = openTables(this.#pins.open(this.#pins.maps(layout)));
    this.#loaded = { tables, programs: this.#pins.open(directory), directory };
    this.#followers.opened(tables);
    // Also after a reopen: a process may have ended between pinning programs and attaching them.
    this.#followers.replaced();
    for (const other of others) {
      // What came while the old programs still ran.
      this.#migrate(other, this.#loaded.tables, ['connections'], true);
      this.#pins.remove(`${this.#pins.root}/${other}`);
    }
    for (const object of this.#pins.objects(layout)) {
      if (object !== files.hash) this.#pins.remove(this.#pins.programs(layout, object));
    }
    return { kind: reopened ? 'reopened' : before.length > 0 ? 'replaced' : 'loaded', layout };
  }

  loaded(): readonly string[] {
    return [...(this.#loaded?.programs.keys() ?? [])].sort();
  }
  fd(name: string): number | undefined {
    return this.#loaded?.programs.get(name);
  }
  pinOf(name: string): string {
    if (this.#loaded === null)
      throw new KernelError(`find program ${name}`, 'ENOENT', { detail: 'the programs are not loaded' });
    return `${this.#loaded.directory}/${name}`;
  }

  testRun(
    program: string,
    frame: Uint8Array,
    options: Parameters<Programs['testRun']>[2],
  ): ReturnType<Programs['testRun']> {
    const fd = this.fd(program);
    if (fd === undefined) throw new KernelError(`run ${program}`, 'ENOENT', { detail: 'the program is not loaded' });
    return testRunProgram(fd, frame, options.ifindex, options.mark ?? 0, options.repeat ?? 1);
  }

  unload(): void {
    this.#followers.cleared();
    this.close();
    this.#pins.remove(this.#pins.root);
  }

  /** Lets go of all descriptors; what is pinned stays. */
  close(): void {
    if (this.#loaded === null) return;
    this.#followers.closed();
    closeTables(this.#loaded.tables);
    for (const fd of this.#loaded.programs.values()) close(fd);
    this.#loaded = null;
  }

  /** Loads the objects over the pinned maps of their layout, or over new ones filled from other layouts, and pins what is new. */
  #publish(files: ObjectFiles, layout: string, others: readonly string[]): void {
    const mapsDirectory = this.#pins.maps(layout);
    const pinned = existsSync(mapsDirectory) ? this.#pins.open(mapsDirectory) : null;
    const shared = new Map(pinned);
    const objects: LoadedObject[] = [];
    try {
      for (const path of files.paths) {
        const object = LoadedObject.load(path, shared);
        objects.push(object);
        for (const name of mapNames) if (!shared.has(name)) shared.set(name, object.mapFd(name));
      }
      if (pinned === null) {
        const tables = openTables(shared);
        for (const other of others) this.#migrate(other, tables, mapNames, false);
        this.#pins.publish(mapsDirectory, shared);
      }
      const programs = new Map(objects.flatMap((object) => [...object.programs()]));
      this.#pins.publish(this.#pins.programs(layout, files.hash), programs);
    } finally {
      for (const object of objects) object.close();
      for (const fd of pinned?.values() ?? []) close(fd);
    }
  }

  #migrate(layout: string, tables: Tables, names: readonly MapName[], onlyNew: boolean): void {
    const cpus = possibleCpus();
    const types = new Map<number, Btf>();
    const old = this.#pins.open(this.#pins.maps(layout));
    try {
      for (const name of names) {
        const fd = old.get(name);
        if (fd === undefined || notMigrated.has(name)) continue;
        const from = typed(new Table(name, fd, cpus), types);
        const to = typed(tables[name], types);
        if (from !== null && to !== null && from.table.info.type === to.table.info.type)
          migrateTable(from, to, onlyNew);
      }
    } finally {
      for (const fd of old.values()) close(fd);
    }
  }
}

/** The table with the types that the kernel keeps; null where it keeps none. */
export function typed(table: Table, types: Map<number, Btf>): (TypedTable & { readonly table: Table }) | null {
  const { btfId, btfKeyType, btfValueType } = table.info;
  if (btfId === 0) return null;
  let btf = types.get(btfId);
  if (btf === undefined) {
    btf = parseBtf(btfOf(btfId, close));
    types.set(btfId, btf);
  }
  const key = btf.types[btfKeyType];
  const value = btf.types[btfValueType];
  return key === undefined || value === undefined ? null : { table, key, value };
}
