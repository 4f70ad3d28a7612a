/** The `bulkhead` command as a process, and a manager as a process that it talks to. */
import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const bulkhead = fileURLToPath(new URL('../../packages/cli/bulkhead', import.meta.url));
const managerMain = fileURLToPath(new URL('../../packages/manager/src/main.ts', import.meta.url));
const startMs = 30_000;
const commandMs = 30_000;

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export class ManagedCommandLine implements AsyncDisposable {
  readonly directory: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly #manager: ChildProcess;

  private constructor(directory: string) {
    this.directory = directory;
    const data = join(directory, 'manager');
    this.#manager = spawn(
      process.execPath,
      [managerMain, '--data', data, '--link', '127.0.0.1:0', '--api', '127.0.0.1:0', '--log', 'warn'],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    );
    this.environment = {
      PATH: process.env['PATH'],
      HOME: directory,
      BULKHEAD_SERVER: `unix://${join(data, 'api.sock')}`,
      BULKHEAD_TOKEN_FILE: join(data, 'admin.token'),
      BULKHEAD_CA_FILE: join(data, 'ca.pem'),
    };
  }

  /** Resolves when the manager answers. */
  static async start(): Promise<ManagedCommandLine> {
    const line = new ManagedCommandLine(await mkdtemp(join(tmpdir(), 'bulkhead-cli-')));
    const deadline = Date.now() + startMs;
    while ((await line.run('status')).code !== 0) {
      assert.ok(Date.now() < deadline, 'the manager is not up in time');
      assert.equal(line.#manager.exitCode, null, 'the manager ended');
      await delay(50);
    }
    return line;
  }

  runWith(extra: NodeJS.ProcessEnv, ...args: readonly string[]): Promise<Ended> {
    return new Promise((resolve) => {
      const options = { env: { ...this.environment, ...extra }, timeout: commandMs };
      execFile(bulkhead, args, options, (error, out, err) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ code, out, err });
      });
    });
  }

  run(...args: readonly string[]): Promise<Ended> {
    return this.runWith({}, ...args);
  }

  async json(...args: readonly string[]): Promise<Record<string, unknown>> {
    const ended = await this.run(...args, '-o', 'json');
    assert.equal(ended.code, 0, ended.err);
    return JSON.parse(ended.out) as Record<string, unknown>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#manager, 'exit');
    this.#manager.kill('SIGTERM');
    await ended;
    await rm(this.directory, { recursive: true, force: true });
  }
}
