/**
 * Invariants while workloads come and go: an apply cannot refuse a workload, so what one breaks is told as a divergence, and told again
 * as over when it is.
 */
import { invariantText } from '@bulkhead/policy';
import type { InvariantResult } from '@bulkhead/policy';
import type { DivergenceRecord } from '@bulkhead/protocol';
import type { Universes } from '../analysis/universe.ts';
import type { Divergences } from '../inventory/divergences.ts';
import type { AuditWriter, Unsubscribe } from '../services.ts';
import type { Committer } from '../store/committer.ts';
import type { Batch } from '../store/commands.ts';
import type { InvariantChecker } from './invariants.ts';
import type { Policies } from './policies.ts';

/** The host that the manager's own divergences are of; no host can be called so. */
export const managerItself = '(manager)';
/** Changes are gathered for so long before they are looked at, milliseconds. */
export const gatherMs = 1_000;
const textMax = 2_048;
const evidenceMax = 4_096;

export interface InvariantWatchOptions {
  readonly committer: Committer;
  readonly policies: Policies;
  readonly checker: InvariantChecker;
  readonly divergences: Divergences;
  readonly universes: Universes;
  readonly audit: AuditWriter;
  readonly nowMs: () => number;
  readonly after: (milliseconds: number, call: () => void) => Unsubscribe;
  readonly onFault: (error: unknown) => void;
}

export class InvariantWatch implements AsyncDisposable {
  readonly #options: InvariantWatchOptions;
  readonly #open = new Map<string, DivergenceRecord>();
  readonly #unsubscribe: Unsubscribe;
  #timer: Unsubscribe | null = null;
  #checking: Promise<void> | null = null;
  #closed = false;

  constructor(options: InvariantWatchOptions) {
    this.#options = options;
    for (const { host: _, ...record } of openRecords(options.divergences)) this.#open.set(record.id, record);
    this.#unsubscribe = options.committer.onCommit((_sequence, batch) => {
      if (concerns(batch)) this.#arm();
    });
    this.#arm();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    this.#timer?.();
    await this.#checking?.catch(() => undefined);
  }

  /** Nothing to look at costs nothing. */
  #arm(): void {
    const { policies, after } = this.#options;
    const isNeeded = policies.policySet().invariants.size > 0 || this.#open.size > 0;
    if (this.#closed || this.#timer !== null || !isNeeded) return;
    this.#timer = after(gatherMs, () => {
      this.#timer = null;
      this.#checking = (this.#checking ?? Promise.resolve())
        .then(() => this.#check())
        .catch((error: unknown) => {
          if (this.#closed) return;
          this.#options.onFault(error);
          this.#arm();
        });
    });
  }

  async #check(): Promise<void> {
    const { committer, policies, checker, universes } = this.#options;
    const { state } = committer;
    const basis = { revision: state.documents.revision, set: [], removed: [] };
    const results = await checker.results(basis, universes.of(policies.labelKeys(), []));
    const broken = results.filter(({ outcome }) => outcome.kind !== 'holds');
    const records = broken.map((result) => this.#recordOf(result));
    const ids = new Set(records.map(({ id }) => id));
    const over = [...this.#open.values()]
      .filter(({ id }) => !ids.has(id))
      .map((record) => ({ ...record, resolved: true, lastMs: this.#options.nowMs() }));
    const news = records.filter((record) => this.#open.get(record.id)?.observed !== record.observed);
    if (news.length + over.length > 0) await this.#tell([...news, ...over]);
  }

  async #tell(records: readonly DivergenceRecord[]): Promise<void> {
    const { divergences, audit } = this.#options;
    await divergences.append(managerItself, records);
    for (const record of records) {
      if (record.resolved) this.#open.delete(record.id);
      else this.#open.set(record.id, record);
      await audit.record({
        actor: 'manager',
        action: record.resolved ? 'invariant.holds' : 'invariant.broken',
        subject: record.id,
        details: { observed: record.observed },
      });
    }
  }

  #recordOf(result: InvariantResult): DivergenceRecord {
    const atMs = this.#options.nowMs();
    const id = `invariant ${result.name}`;
    const known = this.#open.get(id);
    return {
      ...{ id, kind: 'invariant', workload: null },
      believed: `Invariant/${result.name}: ${result.invariant}`,
      observed: invariantText(result).slice(0, textMax),
      evidence: JSON.stringify(result.outcome).slice(0, evidenceMax),
      ...{ firstMs: known?.firstMs ?? atMs, lastMs: atMs, count: (known?.count ?? 0) + 1, resolved: false },
    };
  }
}

function openRecords(divergences: Divergences): readonly (DivergenceRecord & { readonly host: string })[] {
  return divergences.list({ host: managerItself, kind: 'invariant' }, { limit: 1_000, scope: null }, () => true).items;
}

/** Whether it changes who there is, or what they may do. */
function concerns(batch: Batch): boolean {
  return batch.commands.some(({ kind }) =>
    ['documents', 'workloads', 'identities-assigned', 'host-enrolled', 'host-revoked'].includes(kind),
  );
}
