/**
 * What the manager recorded, waited for: flows and questions reach it a moment after the packets. And a second witness that is none of
 * ours: tcpdump inside a container's own network namespace.
 */
import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient, QuestionRecord, StoredFlow } from '@bulkhead/protocol';
import { valueOf } from '../client/failure.ts';
import { partyText } from '../views/flow-view.ts';
import type { Engine } from './engine.ts';

const flowMs = 10_000;
const pollMs = 100;
/** Flows start by the agent's clock of the first packet, which may be read a moment before ours. */
const slackMs = 20;
const pageRows = 500;

export interface Seen {
  readonly from: string;
  readonly to: string;
  readonly port?: number;
  readonly sinceMs: number;
}

/** The newest flow of that kind that satisfies `wanted`; null where none came in time. */
export async function waitForFlow(
  api: ApiClient,
  seen: Seen,
  wanted: (flow: StoredFlow) => boolean = () => true,
): Promise<StoredFlow | null> {
  const query = {
    sinceMs: seen.sinceMs - slackMs,
    limit: pageRows,
    ...(seen.port === undefined ? {} : { port: seen.port }),
  };
  return until(flowMs, async () => {
    const { items } = valueOf(await api.listFlows({ query }));
    const matching = items.filter(
      (flow) => partyText(flow.source) === seen.from && partyText(flow.destination) === seen.to,
    );
    return matching.find(wanted) ?? null;
  });
}

export async function waitForQuestion(
  api: ApiClient,
  seen: Seen,
  wanted: (question: QuestionRecord) => boolean = () => true,
): Promise<QuestionRecord | null> {
  const query = { sinceMs: seen.sinceMs - slackMs, limit: pageRows };
  return until(flowMs, async () => {
    const { items } = valueOf(await api.listQuestions({ query }));
    const matching = items.filter(
      (question) => partyText(question.source) === seen.from && partyText(question.destination) === seen.to,
    );
    return matching.find(wanted) ?? null;
  });
}

export async function until<Value>(deadlineMs: number, look: () => Promise<Value | null>): Promise<Value | null> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (found !== null || performance.now() > end) return found;
    await delay(pollMs);
  }
}

export interface Capture {
  /** Ends the capture and gives a line for each packet that matched. */
  stop(): Promise<readonly string[]>;
}

/** Listens on the container's own interface for packets that match; returns when tcpdump listens. */
export async function captureIn(engine: Engine, container: string, filter: string): Promise<Capture> {
  const pid = await engine.docker('inspect', '--format', '{{.State.Pid}}', container);
  const child = spawn('nsenter', ['-t', pid, '-n', 'tcpdump', '-n', '-l', '--immediate-mode', '-i', 'eth0', filter], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let captured = '';
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text: string) => (captured += text));
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`tcpdump in ${container} ended (${code})`)));
    let said = '';
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text: string) => {
      said += text;
      if (said.includes('listening on')) resolve();
    });
  });
  return {
    async stop() {
      child.kill('SIGINT');
      await exited;
      return captured.split('\n').filter((line) => line !== '');
    },
  };
}
