/** The flow tables in one DuckDB file, as the worker uses them. DuckDB must have one owner: a second instance would see nothing. */
import { DuckDBInstance } from '@duckdb/node-api';
import type { DuckDBConnection } from '@duckdb/node-api';
import type { StoredFlow } from '@bulkhead/protocol';
import { appendRows } from './duckdb-rows.ts';
import type { ColumnArray } from './duckdb-rows.ts';
import { groupFlows, noFlows, recordedFlows } from './group.ts';
import type { GroupColumns, GroupedFlows } from './group.ts';
import { engineMemory, engineThreads, groupMs, groupsMax, meaningsMax, openFlowsMax, queryMs } from './limits.ts';
import { flowColumns, states } from './messages.ts';
import type {
  AppendRequest,
  EndRow,
  FlowColumn,
  FlowColumns,
  GroupRequest,
  QueryRequest,
  TextRow,
  Totals,
} from './messages.ts';
import { ReplacedRows } from './replaced.ts';
import { migrations, schema, schemaVersion } from './schema.ts';
import { formatCursor, meaningsText, parseCursor, searchFlows } from './search.ts';
import { numbersIn, storedFlowOf } from './stored-row.ts';
import type { Meanings, PageRow, StoredEnd } from './stored-row.ts';

const columnNames = Object.keys(flowColumns) as FlowColumn[];

export class FlowDatabase {
  readonly #instance: DuckDBInstance;
  readonly #writer: DuckDBConnection;
  readonly #reader: DuckDBConnection;
  /** For analyses, so that searches do not wait for them. */
  readonly #grouper: DuckDBConnection;
  readonly #batches = new Map<string, number>();
  #replaced = new ReplacedRows();
  #ends: EndRow[] = [];
  #texts: TextRow[] = [];
  #nextArrival = 1;
  #totals: Totals = { stored: 0, lost: 0, expired: 0 };

  private constructor(
    instance: DuckDBInstance,
    [writer, reader, grouper]: readonly [DuckDBConnection, DuckDBConnection, DuckDBConnection],
  ) {
    this.#instance = instance;
    this.#writer = writer;
    this.#reader = reader;
    this.#grouper = grouper;
  }

  static async open(path: string): Promise<FlowDatabase> {
    const options = { threads: String(engineThreads), memory_limit: engineMemory, preserve_insertion_order: 'false' };
    const instance = await DuckDBInstance.create(path, options);
    const database = new FlowDatabase(instance, [
      await instance.connect(),
      await instance.connect(),
      await instance.connect(),
    ]);
    await database.#writer.run(schema);
    await database.#migrate(path);
    await database.#load();
    return database;
  }

  get totals(): Totals {
    return this.#totals;
  }

  /** The first number that neither an end nor a text has. */
  async nextNumber(): Promise<number> {
    const row = await this.#one(
      'SELECT greatest((SELECT coalesce(max(number), 0) FROM ends), (SELECT coalesce(max(number), 0) FROM texts)) AS last',
    );
    return Number(row['last']) + 1;
  }

  /**
   * Meanings of numbers that rows carry from now on. They are kept until a commit has them: the batch that brought them may be
   * repeated or fail, and later ones rely on them all the same.
   */
  learn(ends: readonly EndRow[], texts: readonly TextRow[]): void {
    this.#ends.push(...ends);
    this.#texts.push(...texts);
    if (this.#ends.length + this.#texts.length > meaningsMax)
      throw new Error('The flow store cannot be written, and its memory is full.');
  }

  /** All of the batches in one commit, synced before this resolves. Says for each whether it was had before. */
  async append(requests: readonly AppendRequest[]): Promise<readonly boolean[]> {
    const repeated = this.#repeated(requests);
    const fresh = requests.filter((_, place) => !repeated[place]);
    const before = this.#nextArrival;
    // More may be learnt while this is written: that is for the next commit.
    const [ends, texts] = [this.#ends, this.#texts];
    [this.#ends, this.#texts] = [[], []];
    await this.#writer.run('BEGIN TRANSACTION');
    try {
      await this.#appendMeanings(ends, texts);
      const rows = await this.#appendFlows(fresh);
      const totals = {
        ...this.#totals,
        stored: this.#totals.stored + rows,
        lost: this.#totals.lost + sum(fresh.map(({ lost }) => lost)),
      };
      await this.#writer.run('UPDATE totals SET stored = $stored, lost = $lost', {
        stored: totals.stored,
        lost: totals.lost,
      });
      for (const { host, boot, batch } of fresh) {
        await this.#writer.run('INSERT OR REPLACE INTO batches VALUES ($host, $boot, $batch)', { host, boot, batch });
      }
      await this.#writer.run('COMMIT');
      this.#totals = totals;
      for (const { host, boot, batch } of fresh) this.#batches.set(JSON.stringify([host, boot]), batch);
      return repeated;
    } catch (error) {
      await this.#writer.run('ROLLBACK').catch(() => undefined);
      this.#nextArrival = before;
      this.#ends = [...ends, ...this.#ends];
      this.#texts = [...texts, ...this.#texts];
      await this.#loadReplaced();
      throw error;
    }
  }

  async query(
    request: QueryRequest,
  ): Promise<{ readonly items: readonly StoredFlow[]; readonly cursor: string | null }> {
    const cursor = request.cursor === null ? null : parseCursor(request.cursor);
    if (request.cursor !== null && cursor === null) return { items: [], cursor: null };
    const search = searchFlows(request.filter, request.sort, cursor, request.limit, request.scope);
    const late = setTimeout(() => this.#reader.interrupt(), queryMs);
    try {
      const reader = await this.#reader.runAndReadAll(search.text, search.values);
      const rows = reader.getRowObjectsJS() as unknown as PageRow[];
      const shown = rows.slice(0, request.limit);
      const last = shown.at(-1);
      const more = rows.length > request.limit && last !== undefined;
      const meanings = await this.#meanings(shown);
      return {
        items: shown.map((row) => storedFlowOf(row, meanings)),
        cursor: more ? formatCursor({ value: last.sort_value, arrival: last.arrival }) : null,
      };
    } finally {
      clearTimeout(late);
    }
  }

  /** Flows alike in all that policy reads; null where there are more groups than `groupsMax`. */
  async group({ filter, scope }: GroupRequest): Promise<GroupedFlows | null> {
    const { text, values, droppedText } = groupFlows(filter, scope);
    const late = setTimeout(() => this.#grouper.interrupt(), groupMs);
    try {
      const columns = (await this.#grouper.runAndReadAll(text, values)).getColumnsJS();
      const groups = columns[0]?.length ?? 0;
      if (groups > groupsMax) return null;
      const dropped = (await this.#grouper.runAndReadAll(droppedText, values)).getRowsJS()[0]?.[0];
      const read = async (query: string) => (await this.#grouper.runAndReadAll(query)).getRowObjectsJS();
      // Without a row the engine gives no columns either.
      const flows = groups === 0 ? noFlows : await recordedFlows(columns as unknown as GroupColumns, read);
      return { flows, dropped: Number(dropped) };
    } finally {
      clearTimeout(late);
    }
  }

  /** Removes flows that ended before, or the oldest part of all; gives how many. */
  async expire(which: { readonly endedBeforeMs: number } | { readonly oldestPart: number }): Promise<number> {
    let condition = 'last_ms < $bound';
    let bound = 0;
    if ('endedBeforeMs' in which) bound = which.endedBeforeMs;
    else {
      condition = 'arrival <= $bound';
      const row = await this.#one(
        `SELECT coalesce(quantile_disc(arrival, ${which.oldestPart}), 0) AS bound FROM flows`,
      );
      bound = Number(row['bound']);
    }
    await this.#writer.run('BEGIN TRANSACTION');
    try {
      const result = await this.#writer.run(`DELETE FROM flows WHERE ${condition}`, { bound });
      const removed = result.rowsChanged;
      const totals = { ...this.#totals, expired: this.#totals.expired + removed };
      await this.#writer.run('UPDATE totals SET expired = $expired', { expired: totals.expired });
      await this.#writer.run('COMMIT');
      this.#totals = totals;
      return removed;
    } catch (error) {
      await this.#writer.run('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }

  /** Bytes of the file that are in use, after what was deleted is given back to the file. */
  async usedBytes(): Promise<number> {
    await this.#writer.run('CHECKPOINT');
    const row = await this.#one('SELECT sum(used_blocks * block_size)::DOUBLE AS used FROM pragma_database_size()');
    return Number(row['used']);
  }

  async close(): Promise<void> {
    await this.#writer.run('CHECKPOINT');
    this.#reader.closeSync();
    this.#grouper.closeSync();
    this.#writer.closeSync();
    this.#instance.closeSync();
  }

  async #meanings(rows: readonly PageRow[]): Promise<Meanings> {
    const { ends, texts } = numbersIn(rows);
    const read = async (text: string) => (await this.#reader.runAndReadAll(text)).getRowObjectsJS();
    const found = (await read(meaningsText('ends', ends))) as unknown as readonly StoredEnd[];
    const words = (await read(meaningsText('texts', texts))) as unknown as readonly TextRow[];
    return {
      ends: new Map(found.map((end) => [end.number, end])),
      texts: new Map(words.map(({ number, text }) => [number, text])),
    };
  }

  #repeated(requests: readonly AppendRequest[]): boolean[] {
    const newest = new Map<string, number>();
    return requests.map(({ host, boot, batch }) => {
      const key = JSON.stringify([host, boot]);
      const last = newest.get(key) ?? this.#batches.get(key) ?? -1;
      if (batch <= last) return true;
      newest.set(key, batch);
      return false;
    });
  }

  async #appendMeanings(ends: readonly EndRow[], texts: readonly TextRow[]): Promise<void> {
    if (ends.length > 0) {
      await this.#appendTo('ends', ends.length, [
        Int32Array.from(ends, (end) => end.number),
        ends.map((end) => end.workload ?? ''),
        Float64Array.from(ends, (end) => end.identity),
        ends.map((end) => end.name ?? ''),
        ends.map((end) => end.labels),
        // A space stands for none: an empty string would become NULL, which no search matches either way.
        ends.map((end) => end.segments || ' '),
        ends.map((end) => end.names),
      ]);
    }
    if (texts.length > 0) {
      const written = texts.map(({ text }) => text || ' ');
      await this.#appendTo('texts', texts.length, [Int32Array.from(texts, ({ number }) => number), written]);
    }
  }

  /** Gives how many records were taken; a record that another of the same transaction replaces is not written. */
  async #appendFlows(requests: readonly AppendRequest[]): Promise<number> {
    const first = this.#nextArrival;
    const superseded: number[] = [];
    const dropped = new Set<number>();
    for (const { host, rows, columns } of requests) {
      for (let row = 0; row < rows; row += 1) {
        const arrival = this.#nextArrival++;
        columns.arrival[row] = arrival;
        const before = this.#replaced.put(host, columns.id[row]!, arrival, columns.state[row] === closedState);
        if (before !== null) {
          if (before >= first) dropped.add(before);
          else superseded.push(before);
        }
      }
    }
    for (const { rows, columns } of requests) {
      const kept = withoutRows(columns, rows, dropped);
      await this.#appendTo(
        'flows',
        kept.rows,
        columnNames.map((name) => kept.columns[name]),
      );
    }
    if (superseded.length > 0) {
      await this.#appendTo('superseded', superseded.length, [Float64Array.from(superseded)]);
      await this.#writer.run('DELETE FROM flows USING superseded WHERE flows.arrival = superseded.arrival');
      await this.#writer.run('DELETE FROM superseded');
    }
    return this.#nextArrival - first;
  }

  async #appendTo(table: string, rows: number, columns: readonly ColumnArray[]): Promise<void> {
    if (rows === 0) return;
    const appender = await this.#writer.createAppender(table, null, table === 'superseded' ? 'temp' : null);
    appendRows(appender, columns, rows);
    appender.closeSync();
  }

  async #migrate(path: string): Promise<void> {
    const row = await this.#one('SELECT max(version) AS version FROM versions');
    let version = Number(row['version']);
    for (let step = migrations[version]; step !== undefined; step = migrations[version]) {
      await this.#writer.run(`BEGIN TRANSACTION; ${step} COMMIT;`);
      version += 1;
    }
    if (version === schemaVersion) return;
    throw new Error(`The flow store ${path} has the layout ${version}; this program knows ${schemaVersion}.`);
  }

  async #load(): Promise<void> {
    // Meanings that no flow needs any more; a fresh encoder numbers its own.
    await this.#writer.run(
      'DELETE FROM ends WHERE number NOT IN (SELECT source FROM flows UNION SELECT destination FROM flows)',
    );
    await this.#writer.run(`DELETE FROM texts WHERE number NOT IN
      (SELECT host FROM flows UNION SELECT egress_reason FROM flows UNION SELECT ingress_reason FROM flows UNION SELECT drop_reason FROM flows
       UNION SELECT staged_egress_reason FROM flows UNION SELECT staged_ingress_reason FROM flows)`);
    const totals = await this.#one('SELECT stored, lost, expired FROM totals');
    this.#totals = {
      stored: Number(totals['stored']),
      lost: Number(totals['lost']),
      expired: Number(totals['expired']),
    };
    const last = await this.#one('SELECT coalesce(max(arrival), 0) AS last FROM flows');
    this.#nextArrival = Number(last['last']) + 1;
    const batches = await this.#writer.runAndReadAll('SELECT host, boot, number FROM batches');
    for (const [host, boot, number] of batches.getRowsJS())
      this.#batches.set(JSON.stringify([host, boot]), Number(number));
    await this.#loadReplaced();
  }

  async #loadReplaced(): Promise<void> {
    this.#replaced = new ReplacedRows();
    // Host numbers of a fresh encoder differ from those stored, so hosts are kept by name.
    const open = await this.#writer.runAndReadAll(
      `SELECT texts.text, id, arrival FROM flows JOIN texts ON texts.number = host WHERE state <> ${closedState} ORDER BY arrival DESC LIMIT ${openFlowsMax / 2}`,
    );
    for (const [host, id, arrival] of open.getRowsJS().toReversed())
      this.#replaced.put(String(host), String(id), Number(arrival), false);
  }

  async #one(text: string): Promise<Record<string, unknown>> {
    const [row] = (await this.#writer.runAndReadAll(text)).getRowObjectsJS();
    if (row === undefined) throw new Error(`${text} gives one row`);
    return row;
  }
}

const closedState = states.indexOf('closed');

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function withoutRows(
  columns: FlowColumns,
  rows: number,
  dropped: ReadonlySet<number>,
): { columns: FlowColumns; rows: number } {
  const keep: number[] = [];
  if (dropped.size > 0) for (let row = 0; row < rows; row += 1) if (!dropped.has(columns.arrival[row]!)) keep.push(row);
  if (dropped.size === 0 || keep.length === rows) return { columns, rows };
  const kept = Object.fromEntries(
    columnNames.map((name) => {
      const column = columns[name];
      if (column instanceof Int32Array) return [name, Int32Array.from(keep, (row) => column[row]!)];
      if (column instanceof Float64Array) return [name, Float64Array.from(keep, (row) => column[row]!)];
      return [name, keep.map((row) => column[row]!)];
    }),
  );
  return { columns: kept as unknown as FlowColumns, rows: keep.length };
}
