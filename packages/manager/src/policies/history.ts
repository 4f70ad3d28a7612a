/**
 * Every version of every document with the revisions in which it was in force, so that a flow can be explained by the documents that
 * judged it, however long ago. Told from the ledger's batches; what a crash kept from it, the next start reads from there.
 */
import { documentKeyOf, documentKeyText } from '../store/commands.ts';
import { GroupCommit, openDatabase } from '../store/group-commit.ts';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Committer } from '../store/committer.ts';
import type { Batch, StoredDocument } from '../store/commands.ts';
import type { DocumentEntry } from './documents-state.ts';

/** Versions that are no longer in force, and the bytes of their documents, beyond which the oldest go. */
export const supersededMax = 2_000_000;
export const supersededBytesMax = 2 * 1024 * 1024 * 1024;
/** Superseded versions removed in one commit, so that none is long. */
const trimMax = 20_000;
const retainEveryMs = 3_600_000;
/** Batches that wait to be written. Beyond it the file cannot be written, and the next start reads them from the ledger. */
const pendingMax = 10_000;
/** Batches without documents are only counted; so many later the count is written down. */
const throughEvery = 1_000;
/** Batches of the ledger read at once while catching up. */
const catchUpMax = 500;

const schema = `
  CREATE TABLE IF NOT EXISTS versions (
    key TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER, kind TEXT NOT NULL,
    by TEXT NOT NULL, at_ms REAL NOT NULL, document TEXT NOT NULL, PRIMARY KEY (key, since)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS versions_until ON versions (until) WHERE until IS NOT NULL;
  CREATE INDEX IF NOT EXISTS versions_since ON versions (since);
  CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`;
/** What was in force at a revision: there by then, and not gone by then. */
const inForce = 'since <= $revision AND (until IS NULL OR until > $revision)';

export interface VersionFilter {
  readonly kind?: string | undefined;
  readonly search?: string | undefined;
  /** Keys after this one. */
  readonly after?: string | undefined;
  readonly limit: number;
}

/** `gone`: older than what is kept; `oldest` is the first revision whose documents are known. */
export type AtRevision<Value> =
  | { readonly kind: 'found'; readonly value: Value }
  | { readonly kind: 'gone'; readonly oldest: number }
  | { readonly kind: 'future'; readonly newest: number };

export class DocumentHistory implements AsyncDisposable {
  readonly path: string;
  readonly #committer: Committer;
  readonly #onFault: (error: unknown) => void;
  readonly #commits: GroupCommit;
  readonly #statements: ReturnType<typeof prepare>;
  #pending: { readonly sequence: number; readonly batch: Batch }[] = [];
  #writing: Promise<void> | null = null;
  #through: number;
  #written: number;
  #oldest: number;
  #retainedMs = 0;

  private constructor(path: string, database: DatabaseSync, committer: Committer, onFault: (error: unknown) => void) {
    this.path = path;
    this.#committer = committer;
    this.#onFault = onFault;
    this.#commits = new GroupCommit(database);
    this.#statements = prepare(database);
    this.#written = this.#mark('through');
    this.#through = this.#written;
    this.#oldest = this.#mark('oldest');
  }

  static async open(path: string, committer: Committer, onFault: (error: unknown) => void): Promise<DocumentHistory> {
    const database = openDatabase(path);
    database.exec(schema);
    const history = new DocumentHistory(path, database, committer, onFault);
    await history.#catchUp();
    committer.onCommit((sequence, batch) => history.#follow(sequence, batch));
    return history;
  }

  /** The first revision whose documents are known. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Newest revision at or before this one that changed a document; what is between them has the same documents. */
  async documentsRevision(revision: number): Promise<number> {
    await this.#settled();
    return Number(this.#statements.newestChange.get({ $revision: revision })?.['newest'] ?? 0);
  }

  /** Revisions after this one that changed documents, oldest first. */
  async changesAfter(revision: number, limit: number): Promise<readonly number[]> {
    await this.#settled();
    const rows = this.#statements.changesAfter.all({ $revision: revision, $limit: limit });
    return rows.map((row) => Number(row['revision']));
  }

  async list(
    revision: number,
    filter: VersionFilter,
  ): Promise<AtRevision<readonly (readonly [string, DocumentEntry])[]>> {
    await this.#settled();
    return (
      this.#outside(revision) ?? {
        kind: 'found',
        value: this.#statements.list
          .all({
            $revision: revision,
            $kind: filter.kind ?? null,
            $search: filter.search ?? null,
            $after: filter.after ?? null,
            $limit: filter.limit,
          })
          .map((row) => [String(row['key']), entryOf(row)] as const),
      }
    );
  }

  async document(revision: number, key: string): Promise<AtRevision<DocumentEntry | null>> {
    await this.#settled();
    const outside = this.#outside(revision);
    if (outside !== null) return outside;
    const row = this.#statements.one.get({ $revision: revision, $key: key });
    return { kind: 'found', value: row === undefined ? null : entryOf(row) };
  }

  /** Looks after the limits now and then: counting what is there reads all of it. */
  async tend(nowMs: number): Promise<void> {
    if (nowMs - this.#retainedMs < retainEveryMs) return;
    this.#retainedMs = nowMs;
    await this.retain();
  }

  /** Removes the oldest superseded versions beyond the limits; resolves when it is done. */
  async retain(limits = { versions: supersededMax, bytes: supersededBytesMax }): Promise<void> {
    await this.#settled();
    const { versions, bytes } = this.#statements.superseded.get() as { versions: number; bytes: number };
    const over = Math.max(versions - limits.versions, bytes > limits.bytes ? Math.ceil(versions / 10) : 0);
    if (over <= 0) return;
    const oldest = await this.#commits.submit('document history', () => {
      const bound = this.#statements.oldestUntil.get({ $skip: Math.min(over, trimMax) - 1 });
      const until = Number(bound?.['until'] ?? this.#oldest);
      this.#statements.trim.run({ $until: until });
      this.#statements.setMark.run({ $name: 'oldest', $value: until });
      return until;
    });
    this.#oldest = Math.max(this.#oldest, oldest);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#settled().catch(this.#onFault);
    if (this.#through > this.#written) await this.#write([], this.#through).catch(this.#onFault);
    await this.#commits[Symbol.asyncDispose]();
  }

  #outside(revision: number): Exclude<AtRevision<never>, { kind: 'found' }> | null {
    const newest = this.#committer.state.revision;
    if (revision > newest) return { kind: 'future', newest };
    return revision < this.#oldest ? { kind: 'gone', oldest: this.#oldest } : null;
  }

  #mark(name: string): number {
    return Number(this.#statements.mark.get({ $name: name })?.['value'] ?? 0);
  }

  /** What the ledger has and this does not. Where it has forgotten that too, history begins with what is in force now. */
  async #catchUp(): Promise<void> {
    const { state } = this.#committer;
    while (this.#through < state.revision) {
      const entries = await this.#committer.history(this.#through, catchUpMax);
      const last = entries.at(-1);
      if (entries[0]?.sequence !== this.#through + 1 || last === undefined) return this.#beginAnew();
      await this.#write(entries, last.sequence);
      this.#through = last.sequence;
    }
  }

  async #beginAnew(): Promise<void> {
    const { documents, revision } = this.#committer.state;
    await this.#commits.submit('document history', () => {
      this.#statements.clear.run();
      for (const [key, entry] of documents.entries) this.#insert(key, entry);
      this.#statements.setMark.run({ $name: 'oldest', $value: documents.revision });
      this.#statements.setMark.run({ $name: 'through', $value: revision });
    });
    this.#oldest = documents.revision;
    this.#through = revision;
    this.#written = revision;
  }

  #follow(sequence: number, batch: Batch): void {
    const changes = batch.commands.some((command) => command.kind === 'documents');
    // Once one is missing, the rest must wait for it: the next start reads all of them from the ledger.
    if (this.#pending.length >= pendingMax) return;
    if (changes || this.#pending.length > 0) this.#pending.push({ sequence, batch });
    this.#through = sequence;
    if (this.#pending.length > 0 || sequence - this.#written >= throughEvery) this.#startWriting();
  }

  #startWriting(): void {
    if (this.#writing !== null) return;
    this.#writing = this.#writePending().finally(() => {
      this.#writing = null;
    });
    this.#writing.catch(this.#onFault);
  }

  async #writePending(): Promise<void> {
    do {
      const taken = this.#pending;
      const through = this.#through;
      await this.#write(taken, through);
      this.#pending = this.#pending.slice(taken.length);
    } while (this.#pending.length > 0);
  }

  /** Everything that was committed is written, or this rejects. */
  async #settled(): Promise<void> {
    if (this.#pending.length > 0) this.#startWriting();
    while (this.#writing !== null) await this.#writing;
  }

  async #write(
    entries: readonly { readonly sequence: number; readonly batch: Batch }[],
    through: number,
  ): Promise<void> {
    await this.#commits.submit('document history', () => {
      for (const { sequence, batch } of entries) this.#take(sequence, batch);
      this.#statements.setMark.run({ $name: 'through', $value: through });
    });
    this.#written = through;
  }

  #take(revision: number, { by, atMs, commands }: Batch): void {
    for (const command of commands) {
      if (command.kind !== 'documents') continue;
      for (const key of command.removed) this.#statements.end.run({ $key: documentKeyText(key), $revision: revision });
      for (const document of command.set) {
        const key = documentKeyText(documentKeyOf(document));
        this.#statements.end.run({ $key: key, $revision: revision });
        this.#insert(key, { document, revision, by, atMs });
      }
    }
  }

  #insert(key: string, { document, revision, by, atMs }: DocumentEntry): void {
    this.#statements.insert.run({
      $key: key,
      $since: revision,
      $kind: document.kind,
      $by: by,
      $atMs: atMs,
      $document: JSON.stringify(document),
    });
  }
}

function prepare(database: DatabaseSync) {
  const columns = 'key, since, by, at_ms, document';
  return {
    list: database.prepare(`SELECT ${columns} FROM versions WHERE ${inForce}
      AND ($kind IS NULL OR kind = $kind) AND ($search IS NULL OR instr(key, $search) > 0)
      AND ($after IS NULL OR key > $after) ORDER BY key LIMIT $limit`),
    one: database.prepare(`SELECT ${columns} FROM versions WHERE key = $key AND ${inForce}`),
    newestChange: database.prepare(`SELECT max(coalesce((SELECT max(since) FROM versions WHERE since <= $revision), 0),
      coalesce((SELECT max(until) FROM versions WHERE until <= $revision), 0)) AS newest`),
    changesAfter: database.prepare(`SELECT since AS revision FROM versions WHERE since > $revision
      UNION SELECT until FROM versions WHERE until > $revision ORDER BY 1 LIMIT $limit`),
    end: database.prepare('UPDATE versions SET until = $revision WHERE key = $key AND until IS NULL'),
    insert: database.prepare(`INSERT OR REPLACE INTO versions (key, since, until, kind, by, at_ms, document)
      VALUES ($key, $since, NULL, $kind, $by, $atMs, $document)`),
    clear: database.prepare('DELETE FROM versions'),
    superseded: database.prepare(`SELECT count(*) AS versions, coalesce(sum(length(document)), 0) AS bytes
      FROM versions WHERE until IS NOT NULL`),
    oldestUntil: database.prepare(
      'SELECT until FROM versions WHERE until IS NOT NULL ORDER BY until LIMIT 1 OFFSET $skip',
    ),
    trim: database.prepare('DELETE FROM versions WHERE until <= $until'),
    mark: database.prepare('SELECT value FROM marks WHERE name = $name'),
    setMark: database.prepare(
      'INSERT INTO marks (name, value) VALUES ($name, $value) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
    ),
  } satisfies Record<string, StatementSync>;
}

function entryOf(row: Readonly<Record<string, unknown>>): DocumentEntry {
  return {
    document: JSON.parse(String(row['document'])) as StoredDocument,
    revision: Number(row['since']),
    by: String(row['by']),
    atMs: Number(row['at_ms']),
  };
}
