/** The manager as it is installed: its core with the question log and the flow store behind it. */
import { join } from 'node:path';
import { pino } from 'pino';
import { Questions } from './decisions/question-service.ts';
import { openSqliteQuestionLog } from './decisions/sqlite-question-log.ts';
import { DuckFlowStore } from './flows/flow-store.ts';
import { startManagerWith } from './manager.ts';
import type { Core } from './core.ts';
import type { Manager, ManagerOptions, Traffic } from './manager.ts';
import type { Unsubscribe } from './services.ts';

/** Flows are kept a month, or until their file is this large. */
const flowRetention = { ageMsMax: 30 * 86_400_000, bytesMax: 8 * 1024 * 1024 * 1024 } as const;

export function startManager(options: ManagerOptions): Promise<Manager> {
  return startManagerWith(options, openTraffic);
}

async function openTraffic(core: Core, options: ManagerOptions): Promise<Traffic> {
  const logger = options.logger ?? pino({ level: 'silent' });
  const onFault = (error: unknown) => logger.error({ error }, 'a store failed; it is tried again');
  const questions = new Questions({
    log: openSqliteQuestionLog(join(options.dataDirectory, 'questions.sqlite')),
    inventory: core.inventory,
    policySet: () => core.policies.policySet(),
    revision: () => core.policies.revision(),
    nowMs: options.nowMs ?? Date.now,
    after,
    onFault,
  });
  try {
    const flows = await DuckFlowStore.open({
      path: join(options.dataDirectory, 'flows.duckdb'),
      inventory: core.inventory,
      retention: flowRetention,
      after,
      onFault,
    });
    const measures: Traffic['measures'] = [
      ['questions_asked', 'Questions that hosts asked since the start.', () => questions.counts().asked],
      [
        'questions_unanswered',
        'Questions left to the rule’s `unreachable`, because of a limit or a foreign id.',
        () => questions.counts().unanswered,
      ],
      ['questions_waiting', 'Questions that wait for a human.', () => questions.counts().waiting],
      [
        'decisions_remembered',
        'Decisions that are reused for pairs and identities.',
        () => questions.counts().remembered,
      ],
    ];
    return { questions, flows, measures };
  } catch (error) {
    await questions[Symbol.asyncDispose]();
    throw error;
  }
}

function after(milliseconds: number, call: () => void): Unsubscribe {
  const timer = setTimeout(call, milliseconds);
  return () => clearTimeout(timer);
}
