/** A whole manager in one object: stores, services, both servers, and what has to be done now and then. */
import { join } from 'node:path';
import { pino } from 'pino';
import { ApiServer } from './api/server.ts';
import { createMetrics } from './api/metrics.ts';
import type { Measure } from './api/metrics.ts';
import { openCore } from './core.ts';
import { defaultLifetimes } from './hosts/authority.ts';
import { LinkServer } from './link/server.ts';
import { People } from './people/people.ts';
import { writeSecretFile } from './store/secret-file.ts';
import { managerVersion } from './version.ts';
import type { Logger } from 'pino';
import type { ApiServices } from './api/services.ts';
import type { Core } from './core.ts';
import type { CertificateLifetimes, ServerIdentity } from './hosts/authority.ts';
import type { TlsMaterial } from './link/server.ts';
import type { FlowStore, QuestionService } from './services.ts';

export interface ListenAddress {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
}

export interface ManagerOptions {
  readonly dataDirectory: string;
  readonly link: ListenAddress;
  readonly api: ListenAddress;
  /** Path of the API's socket file, null for none. */
  readonly socketPath: string | null;
  /** DNS names and addresses that the certificate is for, beside loopback. */
  readonly names?: readonly string[];
  readonly logger?: Logger;
  readonly nowMs?: () => number;
  readonly lifetimes?: CertificateLifetimes;
}

export interface Manager extends AsyncDisposable {
  readonly core: Core;
  readonly people: People;
  readonly linkPort: number;
  readonly apiPort: number;
  readonly socketPath: string | null;
  /** PEM of the authority that clients and agents trust. */
  readonly authorityPem: string;
  /** File with the first administrator's token. */
  readonly administratorTokenPath: string;
  /** What is done every minute: renews the server's certificate when it is time, releases unused identities. */
  tend(): Promise<void>;
}

/** Questions and flows of one manager; made over its core. */
export interface Traffic {
  readonly questions: QuestionService;
  readonly flows: FlowStore;
  /** What they count, for /metrics. */
  readonly measures: readonly Measure[];
}

/** How often certificates and unused identities are looked after. */
const tendEveryMs = 60_000;
/** The part of a server certificate's life after which it is replaced. */
const renewAfter = 2 / 3;

export async function startManagerWith(
  options: ManagerOptions,
  openTraffic: (core: Core, options: ManagerOptions) => Promise<Traffic>,
): Promise<Manager> {
  const nowMs = options.nowMs ?? Date.now;
  const logger = options.logger ?? pino({ level: 'silent' });
  await using opened = new AsyncDisposableStack();
  const onFault = (error: unknown) => logger.error({ error }, 'a store failed; it is tried again');
  const { dataDirectory, lifetimes = defaultLifetimes } = options;
  const core = opened.use(await openCore({ dataDirectory, nowMs, lifetimes, onFault }));
  const people = new People(core.committer, nowMs);
  const administratorTokenPath = join(dataDirectory, 'admin.token');
  await makeFirstAdministrator(people, administratorTokenPath);
  const traffic = await openTraffic(core, options);
  opened.use(traffic.questions);
  opened.use(traffic.flows);

  let server: ServerIdentity = await core.authority.issueServer(options.names ?? []);
  const tls = (): TlsMaterial => ({
    certificatePem: server.certificatePem,
    keyPem: server.keyPem,
    authorityPem: core.authority.certificatePem,
  });
  const link = opened.use(
    await LinkServer.listen({
      services: { ...core, ...traffic, logger, authorities: core.authority.certificatePem, nowMs },
      tls: tls(),
      ...options.link,
      auditHead: () => core.audit.head,
    }),
  );
  const services: ApiServices = {
    ...core,
    ...traffic,
    people,
    logger,
    nowMs,
    software: managerVersion,
    startedMs: nowMs(),
    linkPort: () => link.port,
    linkConnections: () => link.connected,
    certificateEndsMs: () => server.notAfterMs,
  };
  const { socketPath } = options;
  const api = opened.use(
    await ApiServer.listen({
      services,
      tls: tls(),
      ...options.api,
      socketPath,
      metrics: createMetrics(services, traffic.measures),
    }),
  );

  const tend = async () => {
    if (nowMs() > server.notBeforeMs + (server.notAfterMs - server.notBeforeMs) * renewAfter) {
      server = await core.authority.issueServer(options.names ?? []);
      link.setTls(tls());
      api.setTls(tls());
      await core.audit.record({
        actor: 'manager',
        action: 'certificate.renewed',
        subject: 'server',
        details: { notAfterMs: server.notAfterMs },
      });
    }
    await core.inventory.sweep(nowMs());
    await core.history.tend(nowMs());
  };
  const timer = setInterval(() => {
    tend().catch((error: unknown) => logger.error({ error }, 'tending failed; it is tried again'));
  }, tendEveryMs);
  opened.defer(() => clearInterval(timer));
  await core.audit.record({
    actor: 'manager',
    action: 'manager.started',
    subject: core.audit.writer,
    details: { software: managerVersion },
  });
  logger.info({ link: link.port, api: api.port, socketPath }, 'manager is up');
  const owned = opened.move();
  return {
    core,
    people,
    linkPort: link.port,
    apiPort: api.port,
    socketPath,
    authorityPem: core.authority.certificatePem,
    administratorTokenPath,
    tend,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/**
 * On the first start only: a token in a file that nobody but the manager's user reads. The file comes before the ledger's batch: a
 * crash between the two leaves a file that opens nothing, and the next start writes it again.
 */
async function makeFirstAdministrator(people: People, path: string): Promise<void> {
  if (people.all().some((token) => token.role === 'administrator')) return;
  const options = { name: 'admin', role: 'administrator', scope: null, forMs: null } as const;
  const created = await people.create('manager', options, (text) => writeSecretFile(path, `${text}\n`));
  if (created.kind !== 'created') throw new Error(`No first administrator could be made: ${created.kind}.`);
}
