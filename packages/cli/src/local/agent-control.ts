/** The agent of this machine, through its control socket: HTTP over a file that only root reads. */
import { request } from 'node:http';
import { z } from 'zod';
import { CommandFailure } from '../exit.ts';

const answerMs = 30_000;
const answerBytesMax = 16 * 1024 * 1024;

const errorBody = z.looseObject({ error: z.looseObject({ message: z.string() }) });
const resultBody = z.looseObject({ result: z.unknown() });

/** What of the agent's status is used here; it says more. */
export const agentStatus = z.looseObject({
  host: z.string(),
  software: z.string(),
  revision: z.number(),
  enforcing: z.boolean(),
  endpoints: z.number(),
  link: z.looseObject({ isReady: z.boolean(), lastError: z.string() }),
  receipt: z.looseObject({ revision: z.number() }).nullable(),
});
export type AgentStatus = z.infer<typeof agentStatus>;

export async function readAgentStatus(socketPath: string): Promise<AgentStatus> {
  return agentStatus.parse(await ask(socketPath, { method: 'GET', path: '/v1/status', body: null }));
}

/** Runs a command of the agent. What it refuses is a failure in its own words. */
export async function runAgentCommand(socketPath: string, name: string, argument: unknown): Promise<unknown> {
  const body = JSON.stringify({ argument });
  const answer = await ask(socketPath, { method: 'POST', path: `/v1/commands/${name}`, body });
  return resultBody.parse(answer).result;
}

async function ask(
  socketPath: string,
  what: { readonly method: string; readonly path: string; readonly body: string | null },
): Promise<unknown> {
  const { status, text } = await send(socketPath, what);
  const value: unknown = JSON.parse(text);
  if (status === 200) return value;
  const said = errorBody.safeParse(value);
  throw new CommandFailure(status === 422 || status === 400 ? 'invalid' : 'failed', `the agent refused ${what.path}`, {
    faults: [{ what: said.success ? said.data.error.message : text.slice(0, 500) }],
  });
}

function send(
  socketPath: string,
  what: { readonly method: string; readonly path: string; readonly body: string | null },
): Promise<{ readonly status: number; readonly text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ readonly status: number; readonly text: string }>();
  const headers =
    what.body === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(what.body) };
  const call = request({ socketPath, method: what.method, path: what.path, headers, timeout: answerMs }, (response) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (part: string) => {
      text += part;
      if (text.length > answerBytesMax) call.destroy(new Error('the answer is too long'));
    });
    response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    response.on('error', reject);
  });
  call.on('timeout', () => call.destroy(new Error(`no answer within ${answerMs} ms`)));
  call.on('error', (cause: NodeJS.ErrnoException) => {
    const remedy = cause.code === 'EACCES' ? 'The socket is for root: use sudo.' : 'Start it with  bulkhead up.';
    reject(
      new CommandFailure('unreachable', `the agent at ${socketPath} cannot be reached: ${cause.message}`, {
        remedy,
        cause,
      }),
    );
  });
  call.end(what.body ?? undefined);
  return promise;
}
