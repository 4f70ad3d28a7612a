/** What is said over the link, in both directions: messages to the parts of the agent, reports and receipts to the manager. */
import type { Kernel } from '@bulkhead/kernel';
import type { ManagerMessage, ReceiptMessage } from '@bulkhead/protocol';
import type { Logger } from 'pino';
import type { AgentStatus } from '../control/status.ts';
import type { Core } from '../core.ts';
import type { Attachment } from '../model.ts';
import type { Questions } from '../questions/questions.ts';
import type { LinkHandlers, ManagerLink } from './manager-link.ts';
import { WorkloadReports } from './workload-reports.ts';

export interface ConversationOptions {
  readonly kernel: Kernel;
  readonly log: Logger;
  readonly core: Core;
  readonly questions: Questions;
  readonly link: () => ManagerLink | null;
  readonly attachment: () => Attachment | null;
  readonly status: () => AgentStatus;
}

export class Conversation implements LinkHandlers {
  readonly #options: ConversationOptions;
  readonly #reports: WorkloadReports;

  constructor(options: ConversationOptions) {
    this.#options = options;
    this.#reports = new WorkloadReports(options.core.registry, (message) => options.link()?.send(message) ?? false);
  }

  onReady(): void {
    const { core, questions } = this.#options;
    core.store.forgetParts();
    this.#reports.linkReady();
    if (core.receipt !== null) this.tellReceipt(core.receipt);
    questions.linkReady();
    this.tellStatus();
  }

  onDown(): void {
    this.#options.log.warn('without a manager: what is in force stays, questions end as their rules say');
  }

  onMessage(message: Extract<ManagerMessage, { type: 'desired' | 'decisions' | 'enforcement' | 'adopt' }>): void {
    const { core, questions, link } = this.#options;
    switch (message.type) {
      case 'desired':
        if (core.takeDesired(message.body) === 'mismatch') link()?.reconnectFull();
        return;
      case 'decisions':
        return questions.decide(message.body.decisions);
      case 'enforcement':
        return core.setEnforcing(message.body.on);
      case 'adopt':
        return void this.#adopt(message.body.workload, message.body.mode);
    }
  }

  tellReceipt(receipt: ReceiptMessage): void {
    if (receipt.revision > 0) this.#options.link()?.send({ type: 'receipt', body: receipt });
  }

  tellStatus(): void {
    const { kernel, link, status, core } = this.#options;
    const hostLabels = core.hostEnd.labels;
    this.#reports.retry();
    const { eventsLost, puntsLost, residentBytes, enforcing, questions } = status();
    const counters = Object.fromEntries([...kernel.maps.counters()].map(([name, count]) => [name, Number(count)]));
    for (const [name, count] of Object.entries(questions)) counters[`questions_${name}`] = count;
    link()?.send({ type: 'status', body: { counters, eventsLost, puntsLost, residentBytes, enforcing, hostLabels } });
  }

  async #adopt(workload: string, mode: 'observe' | 'enforce' | 'release'): Promise<void> {
    const { log, attachment } = this.#options;
    try {
      const isKnown = (await attachment()?.adopt(workload, mode)) ?? false;
      if (!isKnown) log.warn({ workload, mode }, 'asked to adopt a workload that is not here');
    } catch (error) {
      log.error({ workload, mode, error }, 'the workload could not be adopted');
    }
  }
}
