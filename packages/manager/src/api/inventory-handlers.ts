import { formatEnrolmentToken } from '@bulkhead/protocol';
import { byKey, failure, inScope, notFound, ok, pageByKey } from './handler.ts';
import { findWorkload } from './policy-handlers.ts';
import type { HandlerRequest, Handlers } from './handler.ts';
import type { ApiServices } from './services.ts';
import type { HostEntry } from '../hosts/hosts-state.ts';
import type { EnrolmentTokenState, InventoryEntry, LabelsAllowed } from '../store/commands.ts';

export const inventoryHandlers: Handlers<
  'listWorkloads' | 'getWorkload' | 'adoptWorkload' | 'listIdentities' | 'listHosts' | 'getHost' | 'revokeHost'
> = {
  listWorkloads(services, { actor, query }) {
    const { workloads } = services.committer.state.inventory;
    const wanted = labelTerms(query.label ?? '');
    const bySegment = query.segment !== undefined || actor.scope !== null;
    const matching: string[] = [];
    for (const [id, entry] of workloads) {
      if (!fieldsMatch(id, entry, query) || !wanted.every((term) => hasLabel(entry, term))) continue;
      if (bySegment) {
        const segments = services.policies.segmentsOf(entry.labels);
        if (query.segment !== undefined && !segments.includes(query.segment)) continue;
        if (!inScope(actor, segments)) continue;
      }
      matching.push(id);
    }
    matching.sort();
    const page = pageByKey(pairs(matching, workloads), query);
    const items = page.items.map((entry) => workloadRecord(services, entry));
    return ok({ items, cursor: page.cursor, total: matching.length });
  },
  getWorkload(services, { actor, params }) {
    const found = findWorkload(services.inventory, services.committer, params['workload']!);
    if (found === null || !inScope(actor, found.segments))
      return notFound(`workload ${params['workload']}`, 'List the workloads.');
    return ok(workloadRecord(services, services.committer.state.inventory.workloads.get(found.workload)!));
  },
  async adoptWorkload({ inventory, committer }, { actor, by, params, body }) {
    const found = findWorkload(inventory, committer, params['workload']!);
    if (found === null || !inScope(actor, found.segments))
      return notFound(`workload ${params['workload']}`, 'List the workloads.');
    const { workload } = found;
    const { revision } = await committer.commit(by, () => ({
      commands: [{ kind: 'adoption', workload, mode: body.mode }],
      result: null,
    }));
    return ok({ workload, mode: body.mode, revision });
  },
  listIdentities({ committer, policies }, { actor, query }) {
    const all = [...committer.state.inventory.identities]
      .map(([identity, { labels, references }]) => ({
        identity,
        labels,
        segments: [...policies.segmentsOf(labels)],
        workloads: references,
      }))
      .filter(({ segments }) => query.segment === undefined || segments.includes(query.segment))
      .filter(({ segments }) => inScope(actor, segments))
      .map((item) => [String(item.identity).padStart(8, '0'), item] as const)
      .toSorted(byKey);
    return ok(pageByKey(all, query));
  },
  listHosts(services, { query }) {
    const all = [...services.committer.state.hosts.hosts]
      .filter(([host]) => query.search === undefined || host.includes(query.search))
      .filter(
        ([host]) =>
          query.connected === undefined || (services.presence.of(host).connectedSinceMs !== null) === query.connected,
      )
      .toSorted(byKey);
    const page = pageByKey(all, query);
    return ok({ items: page.items.map((entry) => hostRecord(services, entry)), cursor: page.cursor });
  },
  getHost(services, { params }) {
    const entry = services.committer.state.hosts.hosts.get(params['host']!);
    if (entry === undefined) return notFound(`host ${params['host']}`, 'List the hosts.');
    return ok({ ...hostRecord(services, entry), counters: services.presence.of(entry.host).status?.counters ?? {} });
  },
  async revokeHost({ enrolment, committer }, { by, params, body }) {
    const host = params['host']!;
    if (!(await enrolment.revoke(by, host, body.because))) {
      return notFound(
        `enrolled host ${host}`,
        'List the hosts; a host that was revoked stays so until it is enrolled again.',
      );
    }
    return ok({ host, revision: committer.state.revision });
  },
};

export const enrolmentHandlers: Handlers<
  'createEnrolmentToken' | 'listEnrolmentTokens' | 'revokeEnrolmentToken' | 'getAuthority' | 'enrolHost'
> = {
  async createEnrolmentToken({ enrolment, authority }, { by, body }) {
    const { host, labelsAllowed, addressesAllowed, forSeconds } = body;
    const created = await enrolment.createToken(by, {
      host,
      labelsAllowed,
      addressesAllowed,
      forMs: forSeconds * 1000,
    });
    if (created === null) {
      return failure('busy', 'There are too many unused tokens.', {
        why: 'The limit is reached.',
        do: 'Revoke those that are not needed.',
      });
    }
    const { token, secret } = created;
    const text = formatEnrolmentToken({ id: token.id, secret, authority: authority.fingerprint });
    return ok({ ...tokenRecord(token), token: text });
  },
  listEnrolmentTokens({ committer, nowMs }, { query }) {
    const all = [...committer.state.hosts.tokens]
      .filter(([, token]) => token.expiresMs > nowMs())
      .map(([id, token]) => [id, tokenRecord(token)] as const)
      .toSorted(byKey);
    return ok(pageByKey(all, query));
  },
  async revokeEnrolmentToken({ enrolment }, { by, params }) {
    const id = params['id']!;
    return (await enrolment.revokeToken(by, id))
      ? ok({ id })
      : notFound(`token ${id}`, 'List the tokens; used ones are gone.');
  },
  getAuthority({ authority }) {
    return ok({ certificate: authority.certificatePem, fingerprint: authority.fingerprint });
  },
  async enrolHost({ enrolment, authority, audit, auditLimit, linkPort }, { body, address }) {
    const result = await enrolment.enrol(body.host, body.token, body.request);
    if (result.kind === 'enrolled') {
      return ok({ certificate: result.certificatePem, authorities: authority.certificatePem, linkPort: linkPort() });
    }
    if (auditLimit.count(`enrol ${address}`).tell) {
      const details = { why: result.why, address };
      await audit.record({ actor: 'nobody', action: 'enrolment.refused', subject: body.host, details });
    }
    const code = result.code === 'token' ? 'unauthenticated' : result.code === 'host' ? 'conflict' : 'malformed';
    return failure(code, 'The host was not enrolled.', {
      where: result.code === 'request' ? 'body.request' : result.code === 'host' ? 'body.host' : 'body.token',
      why: result.why,
      do: 'Ask whoever runs the manager for a new token, made for this host.',
    });
  },
};

function fieldsMatch(id: string, entry: InventoryEntry, query: HandlerRequest<'listWorkloads'>['query']): boolean {
  return (
    (query.host === undefined || entry.host === query.host) &&
    (query.identity === undefined || entry.identity === query.identity) &&
    (query.governance === undefined || entry.report.governance === query.governance) &&
    (query.search === undefined || id.includes(query.search) || entry.report.name.includes(query.search))
  );
}

function hasLabel({ labels }: InventoryEntry, [key, value]: readonly [string, string | null]): boolean {
  return Object.hasOwn(labels, key) && (value === null || labels[key] === value);
}

/** Looks entries up as they are asked for, so that a page of fifty thousand costs a page. */
function* pairs<Item>(keys: readonly string[], items: ReadonlyMap<string, Item>): Generator<readonly [string, Item]> {
  for (const key of keys) yield [key, items.get(key)!];
}

/** `a=b,c` → every term must hold; null: any value. */
function labelTerms(text: string): readonly (readonly [string, string | null])[] {
  return text
    .split(',')
    .filter((term) => term !== '')
    .map((term) => {
      const equals = term.indexOf('=');
      return equals < 0 ? ([term, null] as const) : ([term.slice(0, equals), term.slice(equals + 1)] as const);
    });
}

function workloadRecord({ policies, committer }: ApiServices, entry: InventoryEntry) {
  const unproven = policies.unprovenClaims(entry.labels);
  const adoption = committer.state.adoptions.get(entry.report.workload);
  return {
    ...entry.report,
    host: entry.host,
    identity: entry.identity,
    labels: entry.labels,
    segments: [...policies.segmentsOf(entry.labels)],
    problems: [...entry.problems, ...unproven.map(({ segment, why }) => `segment ${segment}: ${why}`)],
    adoption: adoption === 'observe' || adoption === 'enforce' ? adoption : null,
  };
}

function hostRecord({ presence, committer, inventory: views }: ApiServices, entry: HostEntry) {
  const { labels, segments } = views.host(entry.host);
  const { connectedSinceMs, lastSeenMs, hello, status, receipt } = presence.of(entry.host);
  const { inventory, desiredRevision } = committer.state;
  const boundaries = { hardware: 0, emulated: 0, none: 0 };
  const ids = inventory.workloadsByHost.get(entry.host) ?? new Set<string>();
  for (const id of ids) boundaries[inventory.workloads.get(id)!.report.boundary] += 1;
  return {
    host: entry.host,
    labels,
    segments: [...segments],
    enrolledMs: entry.enrolledMs,
    revoked: entry.revoked,
    labelsAllowed: labelsOf(entry.labelsAllowed),
    addressesAllowed: entry.addressesAllowed === null ? null : [...entry.addressesAllowed],
    certificateEndsMs: entry.certificates.at(-1)?.notAfterMs ?? null,
    connectedSinceMs,
    lastSeenMs,
    kernel: hello?.kernel ?? null,
    software: hello?.software ?? null,
    workloads: ids.size,
    boundaries,
    receipt,
    behind: receipt === null ? null : Math.max(0, desiredRevision - receipt.revision),
    enforcing: status?.enforcing ?? null,
    eventsLost: status?.eventsLost ?? null,
    puntsLost: status?.puntsLost ?? null,
    residentBytes: status?.residentBytes ?? null,
  };
}

function tokenRecord(token: EnrolmentTokenState) {
  const { id, host, labelsAllowed, addressesAllowed, createdMs, expiresMs, by } = token;
  const addresses = addressesAllowed === null ? null : [...addressesAllowed];
  return { id, host, labelsAllowed: labelsOf(labelsAllowed), addressesAllowed: addresses, createdMs, expiresMs, by };
}

function labelsOf(allowed: LabelsAllowed) {
  if (allowed === null) return null;
  return Object.fromEntries(Object.entries(allowed).map(([key, values]) => [key, [...values]]));
}
