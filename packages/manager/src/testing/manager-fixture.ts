/** A whole manager on free ports with memory services for questions and flows, in a directory of its own. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startManagerWith } from '../manager.ts';
import { memoryFlows, memoryQuestions } from './fakes.ts';
import { apiClient } from './api-transport.ts';
import type { ApiClient, Role } from '@bulkhead/protocol';
import type { Manager, ManagerOptions } from '../manager.ts';
import type { ApiAddress } from './api-transport.ts';
import type { MemoryFlows, MemoryQuestions } from './fakes.ts';

export interface ManagerFixture extends AsyncDisposable {
  readonly manager: Manager;
  readonly directory: string;
  readonly questions: MemoryQuestions;
  readonly flows: MemoryFlows;
  /** As the first administrator. */
  readonly admin: ApiClient;
  address(token: string | null): ApiAddress;
  /** A new person's token. */
  token(role: Role, scope?: readonly string[] | null): Promise<string>;
}

export async function managerFixture(options: Partial<ManagerOptions> = {}): Promise<ManagerFixture> {
  await using made = new AsyncDisposableStack();
  const directory = options.dataDirectory ?? mkdtempSync(join(tmpdir(), 'bulkhead-manager-'));
  if (options.dataDirectory === undefined) made.defer(() => rmSync(directory, { recursive: true, force: true }));
  const questions = memoryQuestions();
  const flows = memoryFlows();
  const manager = made.use(
    await startManagerWith(
      {
        link: { address: '127.0.0.1', port: 0 },
        api: { address: '127.0.0.1', port: 0 },
        socketPath: join(directory, 'api.sock'),
        ...options,
        dataDirectory: directory,
      },
      async () => ({ questions, flows, measures: [] }),
    ),
  );
  const address = (token: string | null): ApiAddress => ({
    port: manager.apiPort,
    authorityPem: manager.authorityPem,
    token,
  });
  const adminToken = readFileSync(manager.administratorTokenPath, 'utf8').trim();
  const owned = made.move();
  let count = 0;
  return {
    manager,
    directory,
    questions,
    flows,
    admin: apiClient(address(adminToken)),
    address,
    async token(role, scope = null) {
      count += 1;
      const created = await manager.people.create('person/test', {
        name: `${role}-${count}`,
        role,
        scope,
        forMs: null,
      });
      if (created.kind !== 'created') throw new Error(created.kind);
      return created.text;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
