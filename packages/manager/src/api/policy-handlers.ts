import { parseDocument } from '@bulkhead/policy';
import { documentVisible } from '../policies/scope.ts';
import { documentOf } from '../policies/set-documents.ts';
import { documentKeyOf, documentKeyText } from '../store/commands.ts';
import { byKey, failure, notFound, ok, pageByKey } from './handler.ts';
import type { Problem } from '@bulkhead/policy';
import type { ApplyRequest, ApplyResult } from '../policies/apply-request.ts';
import { outsideFailure } from './revision-failure.ts';
import type { Actor } from '../services.ts';
import type { Failure, HandlerRequest, Handlers } from './handler.ts';
import type { ApiServices } from './services.ts';
import type { DocumentEntry } from '../policies/documents-state.ts';

export const policyHandlers: Handlers<
  'applyDocuments' | 'listDocuments' | 'getDocument' | 'deleteDocument' | 'diffDocuments'
> = {
  async applyDocuments({ policies }, { actor, by, query, body }) {
    const { dryRun, expectRevision = null, force } = query;
    const request = { ...body, dryRun, expectRevision, force } as ApplyRequest;
    return applied(await policies.apply(actor, by, request), dryRun);
  },
  async listDocuments(services, { actor, query }) {
    const { kind, search, revision } = query;
    if (revision !== undefined) return documentsOfRevision(services, actor, { ...query, revision });
    const { committer, policies } = services;
    const visible = [...committer.state.documents.entries]
      .filter(
        ([key, { document }]) =>
          (kind === undefined || document.kind === kind) && (search === undefined || key.includes(search)),
      )
      .filter(([, { document }]) => {
        const parsed = documentOf(policies.policySet(), documentKeyOf(document));
        return parsed !== null && documentVisible(actor.scope, parsed);
      })
      .toSorted(byKey)
      .map(([key, entry]) => [key, documentRecord(entry)] as const);
    return ok(pageByKey(visible, query));
  },
  async getDocument({ committer, policies, history }, { actor, params, query }) {
    const key = { kind: params['kind']!, name: params['name']! };
    const missing = notFound(`document ${documentKeyText(key)}`, 'List the documents of that kind.');
    if (query.revision !== undefined) {
      const found = await history.document(query.revision, documentKeyText(key));
      if (found.kind !== 'found') return outsideFailure(found, query.revision, 'query.revision');
      return found.value !== null && storedVisible(actor.scope, found.value)
        ? ok(documentRecord(found.value))
        : missing;
    }
    const entry = committer.state.documents.entries.get(documentKeyText(key));
    const document = documentOf(policies.policySet(), key);
    return entry !== undefined && document !== null && documentVisible(actor.scope, document)
      ? ok(documentRecord(entry))
      : missing;
  },
  async deleteDocument({ policies }, { actor, by, params, query }) {
    const key = { kind: params['kind'] as string, name: params['name'] as string };
    const { dryRun } = query;
    if (documentOf(policies.policySet(), key) === null) {
      return notFound(`document ${key.kind}/${key.name}`, 'List the documents of that kind.');
    }
    return applied(await policies.apply(actor, by, { documents: [], removed: [key], dryRun }), dryRun);
  },
  async diffDocuments({ policies }, { actor, by, body }) {
    const result = await policies.apply(actor, by, { ...body, dryRun: true, force: true } as ApplyRequest);
    if (result.kind !== 'applied') return refusal(result);
    const changes = result.changes.map((change) => ({
      ...change,
      before: change.before as Record<string, unknown> | null,
      after: change.after as Record<string, unknown> | null,
    }));
    return ok({ changes, relabelled: result.relabelled, revision: result.revision });
  },
};

/** Versions read at once while a page is filled with what the asker may see. */
const versionsReadMax = 500;

async function documentsOfRevision(
  { history }: ApiServices,
  actor: Actor,
  query: HandlerRequest<'listDocuments'>['query'] & { readonly revision: number },
) {
  const { revision, kind, search, limit } = query;
  const items: [string, ReturnType<typeof documentRecord>][] = [];
  let after = query.cursor;
  while (items.length <= limit) {
    const page = await history.list(revision, { kind, search, after, limit: versionsReadMax });
    if (page.kind !== 'found') return outsideFailure(page, revision, 'query.revision');
    for (const [key, entry] of page.value) {
      if (storedVisible(actor.scope, entry)) items.push([key, documentRecord(entry)]);
    }
    after = page.value.at(-1)?.[0];
    if (page.value.length < versionsReadMax) break;
  }
  return ok(pageByKey(items, { limit }));
}

function storedVisible(scope: readonly string[] | null, { document }: DocumentEntry): boolean {
  if (scope === null) return true;
  const parsed = parseDocument(document, {});
  return parsed.kind === 'ok' && documentVisible(scope, parsed.document);
}

/** By id, or by a name that only one workload has. */
export function findWorkload(inventory: ApiServices['inventory'], committer: ApiServices['committer'], text: string) {
  const byId = inventory.workload(text);
  if (byId !== null) return byId;
  let found: string | null = null;
  for (const [id, entry] of committer.state.inventory.workloads) {
    if (entry.report.name !== text) continue;
    if (found !== null) return null;
    found = id;
  }
  return found === null ? null : inventory.workload(found);
}

function documentRecord(entry: DocumentEntry) {
  const { document, revision, by, atMs } = entry;
  return {
    kind: document.kind,
    name: documentKeyOf(document).name,
    revision,
    by,
    atMs,
    document: document as Record<string, unknown>,
  };
}

function applied(result: ApplyResult, dryRun: boolean) {
  if (result.kind !== 'applied') return refusal(result);
  const changes = result.changes.map(({ kind, name, change }) => ({ kind, name, change }));
  return ok({ changes, relabelled: result.relabelled, revision: result.revision, dryRun });
}

export function refusal(result: Exclude<ApplyResult, { kind: 'applied' }>): Failure {
  if (result.kind === 'changed-meanwhile') {
    return failure('conflict', 'The documents changed meanwhile.', {
      where: 'query.expectRevision',
      why: `You expected revision ${result.expected}; a document changed in revision ${result.revision}.`,
      do: 'Nothing was taken. Look at what changed, and apply again.',
    });
  }
  const first = result.problems[0];
  const count = result.problems.length;
  const outside = result.kind === 'out-of-scope';
  return failure(
    outside ? 'out-of-scope' : 'refused',
    outside ? 'The change is outside your scope.' : 'The documents were refused.',
    {
      where: first === undefined ? '' : [first.file, first.document, first.path].filter(Boolean).join(' '),
      why: first === undefined ? '' : count > 1 ? `${first.reason} (and ${count - 1} more)` : first.reason,
      do: 'Nothing was taken. Mend it and apply again.',
      problems: result.problems.map(problemRecord),
    },
  );
}

function problemRecord({ path, reason, allowed, document, file }: Problem) {
  return {
    path,
    reason,
    ...(allowed === undefined ? {} : { allowed }),
    ...(document === undefined ? {} : { document }),
    ...(file === undefined ? {} : { file }),
  };
}
