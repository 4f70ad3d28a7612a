import { rolePermissions } from '@bulkhead/protocol';
import { batchEvents } from '../audit/batch-events.ts';
import { byKey, failure, inScope, notFound, ok, pageByKey } from './handler.ts';
import type { AuditHead } from '@bulkhead/protocol';
import type { AuditLog } from '../audit/audit-log.ts';
import type { Handlers, HandlerRequest } from './handler.ts';
import type { ApiServices } from './services.ts';
import type { PersonTokenState } from '../store/commands.ts';

/** Lines read at once while the audit log is exported. */
const exportMax = 500;
/** Waiting questions that status counts exactly. */
const waitingCountMax = 1000;

export const operationHandlers: Handlers<
  | 'getStatus'
  | 'whoAmI'
  | 'listRevisions'
  | 'getReceipts'
  | 'setEnforcement'
  | 'createToken'
  | 'listTokens'
  | 'revokeToken'
> = {
  async getStatus(services, { actor }) {
    const { committer, presence, questions, flows, divergences, audit } = services;
    const { state } = committer;
    const whole = actor.scope === null;
    const { stored, lost } = flows.counts();
    const waiting = await questions.list({ state: 'waiting' }, { limit: waitingCountMax, scope: actor.scope });
    const enrolled = [...state.hosts.hosts.values()]
      .filter((entry) => entry.revoked === null)
      .map((entry) => presence.of(entry.host));
    return ok({
      software: services.software,
      startedMs: services.startedMs,
      revision: state.revision,
      desiredRevision: state.desiredRevision,
      documents: state.documents.entries.size,
      workloads: whole ? state.inventory.workloads.size : countInScope(services, actor),
      identities: state.inventory.identities.size,
      hosts: whole
        ? {
            enrolled: enrolled.length,
            connected: enrolled.filter((host) => host.connectedSinceMs !== null).length,
            current: enrolled.filter((host) => (host.receipt?.revision ?? -1) >= state.desiredRevision).length,
          }
        : null,
      questionsWaiting: waiting.items.length,
      divergences: whole ? divergences.openCount() : 0,
      flows: whole ? { stored, lost } : null,
      enforcement: state.enforcement,
      audit: whole ? audit.head : null,
      certificateEndsMs: services.certificateEndsMs(),
    });
  },
  whoAmI(_services, { token }) {
    if (token === null) return notFound('token', 'Log in.');
    const { name, role, scope, expiresMs } = token;
    return ok({
      name,
      role,
      scope: scope === null ? null : [...scope],
      permissions: [...rolePermissions[role]],
      expiresMs,
    });
  },
  async listRevisions({ committer }, { query }) {
    const before = beforeCursor(query.cursor, committer.state.revision);
    const after = Math.max(0, before - 1 - query.limit);
    const history = (await committer.history(after, before - 1 - after)).filter(({ sequence }) => sequence < before);
    const items = history.toReversed().map(({ sequence, batch }) => ({
      revision: sequence,
      atMs: batch.atMs,
      by: batch.by,
      changes: batchEvents(batch).map(({ action, subject }) => `${action} ${subject}`.trim()),
    }));
    const oldest = items.at(-1)?.revision ?? 1;
    return ok({ items, cursor: oldest > 1 && items.length > 0 ? String(oldest) : null });
  },
  async getReceipts(services, request) {
    const deadlineMs = services.nowMs() + request.query.waitMs;
    for (;;) {
      const value = receiptsNow(services, request);
      const leftMs = deadlineMs - services.nowMs();
      if (value.complete || leftMs <= 0 || request.signal.aborted) return ok(value);
      await untilPresenceChanges(services, leftMs, request.signal);
    }
  },
  async setEnforcement({ committer }, { by, body }) {
    await committer.commit(by, () => ({ commands: [{ kind: 'enforcement', ...body }], result: null }));
    return ok(committer.state.enforcement);
  },
  async createToken({ people }, { by, body }) {
    const { forSeconds, ...rest } = body;
    const created = await people.create(by, { ...rest, forMs: forSeconds === null ? null : forSeconds * 1000 });
    if (created.kind === 'taken') {
      return failure('conflict', `There is a token of the name ${body.name}.`, {
        where: 'body.name',
        why: 'The audit log knows people by that name.',
        do: 'Choose another name, or revoke that token first.',
      });
    }
    if (created.kind === 'full') {
      return failure('busy', 'There are too many tokens.', {
        why: 'The limit is reached.',
        do: 'Revoke those that are not needed.',
      });
    }
    return ok({ ...tokenRecord(created.token), token: created.text });
  },
  listTokens({ people }, { query }) {
    return ok(
      pageByKey(
        people
          .all()
          .map((token) => [token.id, tokenRecord(token)] as const)
          .toSorted(byKey),
        query,
      ),
    );
  },
  async revokeToken({ people }, { by, params }) {
    const id = params['id']!;
    const result = await people.revoke(by, id);
    if (result === 'revoked') return ok({ id });
    if (result === 'not-found') return notFound(`token ${id}`, 'List the tokens.');
    return failure('conflict', 'This is the last administrator’s token.', {
      where: 'params.id',
      why: 'Without it nobody could give tokens any more.',
      do: 'Create another administrator’s token, without scope and expiry, first.',
    });
  },
};

export const auditHandlers: Handlers<'listAudit' | 'exportAudit' | 'getAuditHead'> = {
  async listAudit({ audit }, { query }) {
    const before = beforeCursor(query.cursor, audit.head.sequence);
    const from = Math.max(1, before - query.limit);
    const items = (await audit.read(from, Math.max(0, before - from))).toReversed();
    return ok({ items, cursor: from > 1 ? String(from) : null });
  },
  exportAudit({ audit }) {
    // The head at this moment: what comes later is not part of this export.
    const { head, writer } = audit;
    return { kind: 'source', lines: exportedLines(audit, head, writer) };
  },
  getAuditHead({ audit, presence }) {
    return ok({
      head: audit.head,
      writer: audit.writer,
      publicKey: audit.publicKeyPem,
      witnesses: [...presence.witnesses()],
    });
  },
};

async function* exportedLines(audit: AuditLog, head: AuditHead, writer: string): AsyncGenerator<unknown> {
  for (let from = 1; from <= head.sequence; from += exportMax) {
    yield* await audit.read(from, Math.min(exportMax, head.sequence - from + 1));
  }
  yield { head, writer };
}

/** Where a page of a sequence ends: before the cursor, or after the newest where there is none of ours. */
function beforeCursor(cursor: string | undefined, newest: number): number {
  return cursor !== undefined && /^[0-9]{1,15}$/.test(cursor) ? Math.min(Number(cursor), newest + 1) : newest + 1;
}

function receiptsNow({ committer, presence }: ApiServices, { actor, params }: HandlerRequest<'getReceipts'>) {
  const revision = Number(params['revision']);
  // Revisions that changed nothing for agents are enforced with the one before.
  const wanted = Math.min(revision, committer.state.desiredRevision);
  const hosts = [...committer.state.hosts.hosts.values()]
    .filter((entry) => entry.revoked === null)
    .map(({ host }) => {
      const { connectedSinceMs, receipt } = presence.of(host);
      return {
        host,
        connected: connectedSinceMs !== null,
        enforced: receipt !== null && receipt.revision >= wanted,
        revision: receipt?.revision ?? null,
        enforcedMs: receipt?.enforcedMs ?? null,
        atMs: receipt?.atMs ?? null,
        failed: receipt?.failed ?? [],
      };
    });
  return {
    revision,
    complete: revision <= committer.state.revision && hosts.every((host) => host.enforced || !host.connected),
    enforcedCount: hosts.filter((host) => host.enforced).length,
    hostsCount: hosts.length,
    hosts: actor.scope === null ? hosts : [],
  };
}

function untilPresenceChanges({ presence }: ApiServices, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  const unsubscribe = presence.onChange(() => resolve());
  const leave = () => resolve();
  signal.addEventListener('abort', leave, { once: true });
  return promise.finally(() => {
    clearTimeout(timer);
    unsubscribe();
    signal.removeEventListener('abort', leave);
  });
}

function countInScope({ committer, policies }: ApiServices, actor: HandlerRequest<'getStatus'>['actor']): number {
  let count = 0;
  for (const entry of committer.state.inventory.workloads.values()) {
    if (inScope(actor, policies.segmentsOf(entry.labels))) count += 1;
  }
  return count;
}

function tokenRecord({ id, name, role, scope, createdMs, expiresMs, by }: PersonTokenState) {
  return { id, name, role, scope: scope === null ? null : [...scope], createdMs, expiresMs, by };
}
