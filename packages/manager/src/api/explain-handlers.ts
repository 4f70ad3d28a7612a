/** Why: what policy says about a connection, and about one that was recorded. */
import { namedPortPrefix, portListSpans, reasonText } from '@bulkhead/policy';
import { laterRevisionsMax } from '../analysis/limits.ts';
import { namedAddress } from '../analysis/named-addresses.ts';
import { failure, inScope, notFound, ok } from './handler.ts';
import { findWorkload } from './policy-handlers.ts';
import { historyFailure } from './revision-failure.ts';
import type { Labels, Party } from '@bulkhead/policy';
import type { StoredFlow } from '@bulkhead/protocol';
import type { Failure, HandlerRequest, Handlers } from './handler.ts';
import type { ApiServices } from './services.ts';

export const explainHandlers: Handlers<'explain' | 'getFlow' | 'explainFlow'> = {
  async explain(services, request) {
    const { policies, history, analysis } = services;
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
    const { protocol } = request.body;
    const port = portOf(request.body.port, protocol, destination.party);
    if (typeof port !== 'number') return port;
    const asked = request.body.revision ?? policies.revision();
    const outside = await historyFailure(history, asked, 'body.revision');
    if (outside !== null) return outside;
    const flow = { source: source.party, destination: destination.party, protocol, port };
    const revision = await history.documentsRevision(asked);
    const { explanation, text } = await analysis.ask('people', { kind: 'explain', revision, flow });
    const { verdict } = explanation;
    const side = (of: (typeof verdict)['egress']) => ({ action: of.action, reason: reasonText(of.reason) });
    const segments = (of: (typeof explanation)['egress']) => of.segments.map(({ segment }) => segment);
    return ok({
      action: verdict.action,
      source: { text: source.text, labels: source.labels, segments: segments(explanation.egress) },
      destination: { text: destination.text, labels: destination.labels, segments: segments(explanation.ingress) },
      egress: side(verdict.egress),
      ingress: side(verdict.ingress),
      lines: text.split('\n'),
      port,
      revision: asked,
    });
  },
  async getFlow(services, request) {
    const flow = await findFlow(services, request);
    return flow === null ? noFlow(request.params['id']!) : ok(flow);
  },
  async explainFlow(services, request) {
    const { history, analysis } = services;
    const flow = await findFlow(services, request);
    if (flow === null) return noFlow(request.params['id']!);
    const outside = await historyFailure(history, flow.revision, 'params.id');
    if (outside !== null) return outside;
    const revisions = [flow.revision, ...(await history.changesAfter(flow.revision, laterRevisionsMax))];
    return ok(await analysis.ask('people', { kind: 'explain-flow', flow, revisions }));
  },
};

async function findFlow(
  { flows }: ApiServices,
  { actor, params, query }: HandlerRequest<'getFlow'> | HandlerRequest<'explainFlow'>,
): Promise<StoredFlow | null> {
  const filter = { id: params['id']!, ...(query.host === undefined ? {} : { host: query.host }) };
  const { items } = await flows.query(filter, 'newest', { limit: 1, scope: actor.scope });
  return items[0] ?? null;
}

function noFlow(id: string): Failure {
  return notFound(`flow ${id}`, 'List the flows: what is older than their retention has gone.');
}

interface ExplainedParty {
  readonly kind: 'party';
  readonly party: Party;
  readonly text: string;
  readonly labels: Labels;
  readonly segments: readonly string[];
}

function partyOf(
  services: ApiServices,
  { body }: HandlerRequest<'explain'>,
  end: 'source' | 'destination',
): ExplainedParty | Failure {
  const { inventory, policies, committer } = services;
  const given = body[end];
  if ('host' in given) return hostParty(services, given.host, `body.${end}.host`);
  if ('dns' in given) {
    const names = [given.dns.toLowerCase().replace(/\.$/, '')];
    const party = { kind: 'address', address: namedAddress, names } as const;
    return { kind: 'party', party, text: given.dns, labels: {}, segments: [] };
  }
  if ('labels' in given) {
    const { labels } = given;
    const segments = policies.segmentsOf(labels);
    return { kind: 'party', party: { kind: 'workload', labels }, text: 'a workload', labels, segments };
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

function hostParty(
  { inventory, committer }: ApiServices,
  given: true | string,
  where: string,
): ExplainedParty | Failure {
  if (given === true) return { kind: 'party', party: { kind: 'host' }, text: 'a host', labels: {}, segments: [] };
  if (!committer.state.hosts.hosts.has(given)) {
    return failure('not-found', `There is no host ${given}.`, {
      where,
      why: 'No host of that name is enrolled.',
      do: 'List the hosts, or say `host` alone for any.',
    });
  }
  const { labels, segments } = inventory.host(given);
  return { kind: 'party', party: { kind: 'host', labels }, text: `host ${given}`, labels, segments };
}

/** The number of a port; a name is one of the destination's labels. */
function portOf(port: number | string, protocol: number, destination: Party): number | Failure {
  if (typeof port === 'number') return port;
  if (/^[0-9]+$/.test(port)) return Number(port);
  const labels = destination.kind === 'workload' ? destination.labels : {};
  const spans = portListSpans(labels[namedPortPrefix + port] ?? '');
  const span = spans.find((each) => each.protocol === protocol);
  if (span !== undefined) return span.from;
  const known = Object.keys(labels).flatMap((key) =>
    key.startsWith(namedPortPrefix) ? [key.slice(namedPortPrefix.length)] : [],
  );
  return failure('not-found', `The destination has no port named ${port}.`, {
    where: 'body.port',
    why: known.length === 0 ? 'It has no named ports.' : `Its named ports are ${known.join(', ')}.`,
    do: `Give a number, or the label ${namedPortPrefix}${port} to the workload.`,
  });
}
