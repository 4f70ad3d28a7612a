/** The stores and the state over them: everything of a manager that needs no network. */
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Analysis } from './analysis/analysis.ts';
import { Universes } from './analysis/universe.ts';
import { AuditLog } from './audit/audit-log.ts';
import { RepetitionLimit } from './audit/repetition-limit.ts';
import { openAuditSigner } from './audit/signer.ts';
import { openAuthority } from './hosts/authority.ts';
import { Enrolment } from './hosts/enrolment.ts';
import type { Labels } from '@bulkhead/policy';
import { Presence } from './hosts/presence.ts';
import { Divergences } from './inventory/divergences.ts';
import { Inventory } from './inventory/inventory.ts';
import { Batches } from './link/batches.ts';
import { DocumentHistory } from './policies/history.ts';
import { InvariantWatch } from './policies/invariant-watch.ts';
import { createInvariantChecker } from './policies/invariants.ts';
import { Policies } from './policies/policies.ts';
import { Committer } from './store/committer.ts';
import { lockDirectory } from './store/lock.ts';
import { openSqliteLedger } from './store/sqlite-ledger.ts';
import { openSqliteStreams } from './store/sqlite-streams.ts';
import type { Authority, CertificateLifetimes } from './hosts/authority.ts';
import type { Streams, Unsubscribe } from './services.ts';

export interface CoreOptions {
  readonly dataDirectory: string;
  readonly nowMs: () => number;
  readonly lifetimes: CertificateLifetimes;
  /** Hears of what failed and is tried again. */
  readonly onFault: (error: unknown) => void;
}

export interface Core extends AsyncDisposable {
  readonly streams: Streams;
  readonly committer: Committer;
  readonly presence: Presence;
  readonly policies: Policies;
  readonly history: DocumentHistory;
  readonly analysis: Analysis;
  readonly universes: Universes;
  readonly inventory: Inventory;
  readonly divergences: Divergences;
  readonly batches: Batches;
  readonly authority: Authority;
  readonly enrolment: Enrolment;
  readonly audit: AuditLog;
  readonly auditLimit: RepetitionLimit;
}

/** Makes what is missing: directory, stores, authority, keys. Throws when another manager has the directory. */
export async function openCore({ dataDirectory, nowMs, lifetimes, onFault }: CoreOptions): Promise<Core> {
  mkdirSync(dataDirectory, { recursive: true, mode: 0o700 });
  await using opened = new AsyncDisposableStack();
  opened.use(lockDirectory(dataDirectory));
  const streams = opened.use(openSqliteStreams(join(dataDirectory, 'streams.sqlite'), nowMs));
  const ledger = openSqliteLedger(join(dataDirectory, 'ledger.sqlite'));
  const committer = opened.use(await Committer.open(ledger, nowMs, onFault));
  const presence = await Presence.open(streams, nowMs);
  const confirmedRevision = () => {
    const enrolled = [...committer.state.hosts.hosts.values()].filter((entry) => entry.revoked === null);
    return presence.confirmedRevision(enrolled.map((entry) => entry.host));
  };
  const history = opened.use(await DocumentHistory.open(join(dataDirectory, 'documents.sqlite'), committer, onFault));
  const analysis = opened.use(new Analysis(history.path));
  const universes = new Universes(committer, (host) => inventory.host(host).labels);
  const invariantChecker = createInvariantChecker(history, analysis, universes);
  const policies = new Policies(committer, confirmedRevision, invariantChecker);
  const saidOf = (host: string): Labels => presence.of(host).status?.hostLabels ?? {};
  const inventory = new Inventory(committer, policies, confirmedRevision, saidOf);
  const signer = openAuditSigner(join(dataDirectory, 'audit.key'));
  const audit = await AuditLog.open(committer, { streams, signer, writer: hostname(), nowMs });
  const authority = await openAuthority(dataDirectory, nowMs, lifetimes);
  const divergences = await Divergences.open(streams);
  opened.use(
    new InvariantWatch({
      ...{ committer, policies, divergences, universes, audit, nowMs, after, onFault },
      checker: invariantChecker,
    }),
  );
  const owned = opened.move();
  return {
    streams,
    committer,
    presence,
    policies,
    history,
    analysis,
    universes,
    inventory,
    divergences,
    batches: new Batches(streams),
    authority,
    enrolment: new Enrolment(committer, authority, nowMs),
    audit,
    auditLimit: new RepetitionLimit(nowMs),
    // In reverse order of opening: the ledger before the streams, so that the audit's last lines are written.
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function after(milliseconds: number, call: () => void): Unsubscribe {
  const timer = setTimeout(call, milliseconds);
  timer.unref();
  return () => clearTimeout(timer);
}
