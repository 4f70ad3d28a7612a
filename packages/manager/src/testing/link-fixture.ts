/** A core with a link server on a free port and memory services, in a directory of its own. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { openCore } from '../core.ts';
import { defaultLifetimes } from '../hosts/authority.ts';
import { LinkServer } from '../link/server.ts';
import { AgentClient, makeAgentKeys } from './agent-client.ts';
import { memoryFlows, memoryQuestions } from './fakes.ts';
import type { WorkloadReport } from '@bulkhead/protocol';
import type { Core, CoreOptions } from '../core.ts';
import type { LabelsAllowed } from '../store/commands.ts';
import type { AgentCredentials } from './agent-client.ts';
import type { MemoryFlows, MemoryQuestions } from './fakes.ts';

export interface LinkFixture extends AsyncDisposable {
  readonly core: Core;
  readonly link: LinkServer;
  readonly questions: MemoryQuestions;
  readonly flows: MemoryFlows;
  /** Enrols a host as a person and an agent would. */
  enrol(host: string, labelsAllowed?: LabelsAllowed): Promise<Required<AgentCredentials>>;
  connect(credentials: AgentCredentials): Promise<AgentClient>;
}

export async function linkFixture(options: Partial<CoreOptions> = {}): Promise<LinkFixture> {
  await using made = new AsyncDisposableStack();
  const dataDirectory = options.dataDirectory ?? mkdtempSync(join(tmpdir(), 'bulkhead-link-'));
  if (options.dataDirectory === undefined) made.defer(() => rmSync(dataDirectory, { recursive: true, force: true }));
  const nowMs = options.nowMs ?? Date.now;
  const core = made.use(
    await openCore({ dataDirectory, nowMs, lifetimes: options.lifetimes ?? defaultLifetimes, onFault: assert.ifError }),
  );
  const questions = memoryQuestions();
  const flows = memoryFlows();
  const server = await core.authority.issueServer([]);
  const link = made.use(
    await LinkServer.listen({
      services: {
        ...core,
        questions,
        flows,
        logger: pino({ level: 'silent' }),
        authorities: core.authority.certificatePem,
        nowMs,
      },
      tls: {
        certificatePem: server.certificatePem,
        keyPem: server.keyPem,
        authorityPem: core.authority.certificatePem,
      },
      address: '127.0.0.1',
      port: 0,
      auditHead: () => core.audit.head,
    }),
  );
  const owned = made.move();
  return {
    core,
    link,
    questions,
    flows,
    async enrol(host, labelsAllowed = null) {
      const created = await core.enrolment.createToken('person/test', { host, labelsAllowed, forMs: 60_000 });
      const { keyPem, request } = await makeAgentKeys(host);
      const enrolled = await core.enrolment.enrol(host, { id: created!.token.id, secret: created!.secret }, request);
      if (enrolled.kind !== 'enrolled') throw new Error(enrolled.why);
      return { keyPem, certificatePem: enrolled.certificatePem, authorityPem: core.authority.certificatePem };
    },
    connect: (credentials) => AgentClient.connect(link.port, credentials),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

export function workloadReport(workload: string, change: Partial<WorkloadReport> = {}): WorkloadReport {
  return {
    workload,
    name: workload.slice(workload.lastIndexOf('/') + 1),
    engine: 'docker',
    labels: {},
    image: null,
    imageDigest: null,
    isolationClass: 'shared',
    boundary: 'none',
    generation: 1,
    endpoints: [],
    governance: 'governed',
    ungovernedBecause: null,
    startedMs: null,
    ...change,
  };
}

/** A segment document that selects by labels. */
export function segment(name: string, matchLabels: Record<string, string>) {
  return { apiVersion: 'bulkhead.dev/v1', kind: 'Segment', metadata: { name }, spec: { selector: { matchLabels } } };
}

/** Applies documents as an author would, and gives the revision that they made. */
export async function apply({ core }: Pick<LinkFixture, 'core'>, ...values: readonly unknown[]): Promise<number> {
  const author = { name: 'ann', role: 'author', scope: null };
  const documents = values.map((value) => ({ value }));
  const result = await core.policies.apply(author, 'person/ann', { documents, removed: [], dryRun: false });
  assert.ok(result.kind === 'applied', JSON.stringify(result));
  return result.revision;
}
