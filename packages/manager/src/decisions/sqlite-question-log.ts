/** The question log in one SQLite file. What is submitted in one turn of the event loop shares one transaction and one fsync. */
import type { QuestionFilter, QuestionRecord } from '@bulkhead/protocol';
import type { Page, PageRequest } from '../services.ts';
import { Checkpoints } from '../store/checkpoints.ts';
import { GroupCommit, openDatabase } from '../store/group-commit.ts';
import { logRowsMax, scanRowsMax, scanSlicesMax, trimEvery, trimRowsMax } from './limits.ts';
import type { LoggedQuestion, QuestionLog, RememberedDecision } from './question-log.ts';
import { filterClauses } from './question-filter.ts';

/** `sequence` orders, `data` is the LoggedQuestion as JSON; the other columns repeat what is searched for. */
const schema = `
  CREATE TABLE IF NOT EXISTS questions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, host TEXT NOT NULL, at_ms REAL NOT NULL, state TEXT NOT NULL,
    follower INTEGER NOT NULL, source TEXT, destination TEXT, segments TEXT NOT NULL, hold_until_ms REAL NOT NULL, data TEXT NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS questions_waiting ON questions (sequence) WHERE state = 'waiting';
  CREATE INDEX IF NOT EXISTS questions_held ON questions (hold_until_ms) WHERE hold_until_ms > 0;
  CREATE TABLE IF NOT EXISTS remembered (
    key TEXT PRIMARY KEY, verdict TEXT NOT NULL, person TEXT NOT NULL, question TEXT NOT NULL, expires_ms REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

export function openSqliteQuestionLog(path: string): QuestionLog {
  return new SqliteQuestionLog(path);
}

interface DataRow {
  readonly sequence: number;
  readonly data: string;
}

class SqliteQuestionLog implements QuestionLog {
  readonly #database;
  readonly #commits: GroupCommit;
  readonly #checkpoints: Checkpoints;
  readonly #insert;
  readonly #update;
  readonly #select;
  readonly #trim;
  #sinceTrim = 0;

  constructor(path: string) {
    this.#database = openDatabase(path);
    this.#database.exec(schema);
    this.#commits = new GroupCommit(this.#database);
    this.#checkpoints = new Checkpoints(this.#database, path);
    this.#insert = this.#database.prepare(
      `INSERT INTO questions (id, host, at_ms, state, follower, source, destination, segments, hold_until_ms, data)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
    );
    this.#update = this.#database.prepare('UPDATE questions SET state = ?, hold_until_ms = ?, data = ? WHERE id = ?');
    this.#select = this.#database.prepare('SELECT data FROM questions WHERE id = ?');
    this.#trim = this.#database.prepare(
      `DELETE FROM questions WHERE sequence IN (SELECT sequence FROM questions
         WHERE sequence <= (SELECT max(sequence) FROM questions) - ? AND state <> 'waiting' ORDER BY sequence LIMIT ?)`,
    );
  }

  async append(questions: readonly LoggedQuestion[]): Promise<readonly (LoggedQuestion | null)[]> {
    const texts = questions.map((question) => JSON.stringify(question));
    const written = await this.#commits.submit('log questions', () => {
      const before = questions.map((question, place) => this.#add(question, texts[place]!));
      this.#trimWhenDue(questions.length);
      return before;
    });
    this.#checkpoints.count(questions.length);
    return written;
  }

  async change(
    ids: readonly string[],
    change: (id: string, before: LoggedQuestion | null) => LoggedQuestion | null,
    remembered: RememberedDecision | null = null,
  ): Promise<readonly LoggedQuestion[]> {
    const changed = await this.#commits.submit('log answers', () => {
      const written: LoggedQuestion[] = [];
      for (const id of ids) {
        const before = this.find(id);
        const after = change(id, before);
        if (after === null) continue;
        if (before === null) this.#add(after, JSON.stringify(after));
        else this.#put(after);
        written.push(after);
      }
      if (remembered !== null && written.length > 0) this.#remember(remembered);
      return written;
    });
    this.#checkpoints.count(changed.length);
    return changed;
  }

  find(id: string): LoggedQuestion | null {
    const row = this.#select.get(id);
    return row === undefined ? null : parse(row as unknown as DataRow);
  }

  async list(filter: QuestionFilter, page: PageRequest): Promise<Page<QuestionRecord>> {
    const { where, values } = filterClauses(filter, page.scope);
    // The few that wait have an index of their own; everything else is searched backwards in slices.
    const slice = filter.state === 'waiting' ? 'AND 1' : `AND sequence >= ? - ${scanRowsMax}`;
    const search = this.#database.prepare(
      `SELECT sequence, data FROM questions WHERE sequence < ? ${slice} AND follower = 0 ${where} ORDER BY sequence DESC LIMIT ?`,
    );
    const least = Number(this.#database.prepare('SELECT min(sequence) AS least FROM questions').get()?.['least'] ?? 0);
    let before = page.cursor === undefined ? this.#lastSequence() + 1 : Number(page.cursor);
    if (!Number.isSafeInteger(before)) return { items: [], cursor: null };
    const items: QuestionRecord[] = [];
    for (let turn = 0; turn < scanSlicesMax; turn += 1) {
      const bounds = filter.state === 'waiting' ? [before] : [before, before];
      const rows = search.all(...bounds, ...values, page.limit - items.length) as unknown as DataRow[];
      items.push(...rows.map((row) => parse(row).record));
      const full = items.length >= page.limit;
      before = full || filter.state === 'waiting' ? (rows.at(-1)?.sequence ?? 0) : before - scanRowsMax;
      if (before <= least || (filter.state === 'waiting' && !full)) return { items, cursor: null };
      if (full) break;
      await new Promise(setImmediate);
    }
    return { items, cursor: String(before) };
  }

  waiting(): readonly LoggedQuestion[] {
    return this.#all(`SELECT sequence, data FROM questions WHERE state = 'waiting' ORDER BY sequence`);
  }

  heldAfter(nowMs: number): readonly LoggedQuestion[] {
    return this.#all(
      `SELECT sequence, data FROM questions WHERE hold_until_ms > 0 AND hold_until_ms > ? AND state <> 'waiting'`,
      nowMs,
    );
  }

  remembered(nowMs: number): readonly RememberedDecision[] {
    this.#database.prepare('DELETE FROM remembered WHERE expires_ms <= ?').run(nowMs);
    return this.#database
      .prepare(
        'SELECT key, verdict, person AS by, question, expires_ms AS expiresMs FROM remembered ORDER BY expires_ms',
      )
      .all() as unknown as RememberedDecision[];
  }

  count(): number {
    return Number(this.#database.prepare('SELECT count(*) AS count FROM questions').get()?.['count']);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#checkpoints[Symbol.asyncDispose]();
    await this.#commits[Symbol.asyncDispose]();
  }

  #all(text: string, ...values: number[]): LoggedQuestion[] {
    return (this.#database.prepare(text).all(...values) as unknown as DataRow[]).map(parse);
  }

  #lastSequence(): number {
    return Number(this.#database.prepare('SELECT max(sequence) AS last FROM questions').get()?.['last'] ?? 0);
  }

  #add(question: LoggedQuestion, text: string): LoggedQuestion | null {
    const { record, leader } = question;
    const { id, host, atMs, state, source, destination } = record;
    const segments = segmentColumn(source.segments, destination.segments);
    const follower = leader === null ? 0 : 1;
    const { changes } = this.#insert.run(
      id,
      host,
      atMs,
      state,
      follower,
      source.workload,
      destination.workload,
      segments,
      holdUntilMs(question),
      text,
    );
    return Number(changes) === 1 ? null : this.find(id);
  }

  #put(question: LoggedQuestion): void {
    const { record } = question;
    this.#update.run(record.state, holdUntilMs(question), JSON.stringify(question), record.id);
  }

  #remember({ key, verdict, by, question, expiresMs }: RememberedDecision): void {
    const replace = this.#database.prepare('INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?, ?)');
    replace.run(key, verdict, by, question, expiresMs);
  }

  #trimWhenDue(added: number): void {
    this.#sinceTrim += added;
    if (this.#sinceTrim < trimEvery) return;
    this.#sinceTrim = 0;
    this.#trim.run(logRowsMax, trimRowsMax);
  }
}

function parse(row: { readonly data: string }): LoggedQuestion {
  return JSON.parse(row.data) as LoggedQuestion;
}

function holdUntilMs(question: LoggedQuestion): number {
  return question.held ? question.usableUntilMs : 0;
}

/** `|a|b|`: names of segments have no bars. */
function segmentColumn(a: readonly string[], b: readonly string[]): string {
  return a.length + b.length === 0 ? '' : `|${[...new Set([...a, ...b])].join('|')}|`;
}
