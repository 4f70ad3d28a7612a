import { explain, explanationText, reasonText } from '@bulkhead/policy';
import { documentVisible } from '../policies/scope.ts';
import { documentOf } from '../policies/set-documents.ts';
import { byKey, failure, inScope, notFound, ok, pageByKey } from './handler.ts';
import type { Labels, Party, Problem } from '@bulkhead/policy';
import type { ApplyRequest, ApplyResult } from '../policies/policies.ts';
import type { Failure, HandlerRequest, Handlers } from './handler.ts';
import type { ApiServices } from './services.ts';
import type { DocumentEntry } from '../policies/documents-state.ts';

export const policyHandlers: Handlers<
  'applyDocuments' | 'listDocuments' | 'getDocument' | 'deleteDocument' | 'diffDocuments' | 'explain'
> = {
  async applyDocuments({ policies }, { actor, by, query, body }) {
    const result = await policies.apply(actor, by, { ...body, dryRun: query.dryRun } as ApplyRequest);
    return applied(result, query.dryRun);
  },
  listDocuments({ committer, policies }, { actor, query }) {
    const { kind, search } = query;
    const visible = [...committer.state.documents.entries]
      .filter(
        ([key, { document }]) =>
          (kind === undefined || document.kind === kind) && (search === undefined || key.includes(search)),
      )
      .filter(([, { document }]) => {
        const { kind: of, metadata } = document;
        const parsed = documentOf(policies.policySet(), { kind: of, name: metadata.name });
        return parsed !== null && documentVisible(actor.scope, parsed);
      })
      .toSorted(byKey)
      .map(([key, entry]) => [key, documentRecord(entry)] as const);
    return ok(pageByKey(visible, query));
  },
  getDocument({ committer, policies }, { actor, params }) {
    const key = `${params['kind']}/${params['name']}`;
    const entry = committer.state.documents.entries.get(key);
    const document = documentOf(policies.policySet(), { kind: params['kind']!, name: params['name']! });
    if (entry === undefined || document === null || !documentVisible(actor.scope, document)) {
      return notFound(`document ${key}`, 'List the documents of that kind.');
    }
    return ok(documentRecord(entry));
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
    const result = await policies.apply(actor, by, { ...body, dryRun: true } as ApplyRequest);
    if (result.kind !== 'applied') return refusal(result);
    const changes = result.changes.map((change) => ({
      ...change,
      before: change.before as Record<string, unknown> | null,
      after: change.after as Record<string, unknown> | null,
    }));
    return ok({ changes, relabelled: result.relabelled, revision: result.revision });
  },
  explain(services, request) {
    const source = partyOf(services, request, 'source');
    if (source.kind === 'error') return source;
    const destination = partyOf(services, request, 'destination');
    if (destination.kind === 'error') return destination;
    if (!inScope(request.actor, source.segments, destination.segments)) {
      return failure('out-of-scope', 'Neither end is within your scope.', {
        where: 'body.source',
        why: 'Your token is for some segments, and neither end is in one of them.',
        do: 'Ask about a workload of your segments.',
      });
    }
    const { protocol, port } = request.body;
    const flow = { source: source.party, destination: destination.party, protocol, port };
    const explanation = explain(services.policies.policySet(), flow);
    const { verdict } = explanation;
    const side = (of: (typeof verdict)['egress']) => ({ action: of.action, reason: reasonText(of.reason) });
    return ok({
      action: verdict.action,
      source: { text: source.text, labels: source.labels, segments: [...source.segments] },
      destination: { text: destination.text, labels: destination.labels, segments: [...destination.segments] },
      egress: side(verdict.egress),
      ingress: side(verdict.ingress),
      lines: explanationText(explanation).split('\n'),
      revision: services.policies.revision(),
    });
  },
};

interface ExplainedParty {
  readonly kind: 'party';
  readonly party: Party;
  readonly text: string;
  readonly labels: Labels;
  readonly segments: readonly string[];
}

function partyOf(
  { inventory, policies, committer }: ApiServices,
  { body }: HandlerRequest<'explain'>,
  end: 'source' | 'destination',
): ExplainedParty | Failure {
  const given = body[end];
  if ('host' in given) return { kind: 'party', party: { kind: 'host' }, text: 'the host', labels: {}, segments: [] };
  if ('labels' in given) {
    const { labels } = given;
    return {
      kind: 'party',
      party: { kind: 'workload', labels },
      text: 'a workload',
      labels,
      segments: policies.segmentsOf(labels),
    };
  }
  const id = 'address' in given ? committer.state.inventory.addresses.get(given.address) : given.workload;
  if (id === undefined) {
    const { address } = given as { address: string };
    return { kind: 'party', party: { kind: 'address', address }, text: address, labels: {}, segments: [] };
  }
  const found = findWorkload(inventory, committer, id);
  if (found === null) {
    return failure('not-found', `There is no single workload ${id}.`, {
      where: `body.${end}.workload`,
      why: 'No workload has that id, and not exactly one has that name.',
      do: 'Give the id as the list of workloads shows it.',
    });
  }
  const { labels, segments, name } = found;
  return { kind: 'party', party: { kind: 'workload', labels, name }, text: name, labels, segments };
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
    name: document.metadata.name,
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

function refusal(result: Exclude<ApplyResult, { kind: 'applied' }>): Failure {
  const first = result.problems[0];
  const count = result.problems.length;
  const outside = result.kind === 'out-of-scope';
  return failure(
    outside ? 'out-of-scope' : 'refused',
    outside ? 'The change is outside your scope.' : 'The documents were refused.',
    {
      where: first === undefined ? '' : [first.file, first.document, first.path].filter(Boolean).join(' '),
      why: first === undefined ? '' : count > 1 ? `${first.reason} (and ${count - 1} more)` : first.reason,
      do:
        first?.allowed === undefined
          ? 'Nothing was taken. Mend it and apply again.'
          : `Nothing was taken. Allowed: ${first.allowed}`,
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
