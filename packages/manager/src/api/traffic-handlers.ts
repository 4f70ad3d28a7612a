import { failure, inScope, notFound, ok } from './handler.ts';
import { findWorkload } from './policy-handlers.ts';
import type { AnswerResult } from '../services.ts';
import type { Failure, HandlerRequest, Handlers } from './handler.ts';
import type { ApiServices } from './services.ts';
import type { QuestionFilter, QuestionRecord } from '@bulkhead/protocol';

export const trafficHandlers: Handlers<
  | 'listFlows'
  | 'watchFlows'
  | 'listQuestions'
  | 'watchQuestions'
  | 'getQuestion'
  | 'approveQuestion'
  | 'refuseQuestion'
  | 'listDivergences'
> = {
  async listFlows({ flows }, { actor, query }) {
    const { sort, cursor, limit, ...filter } = query;
    const page = await flows.query(filter, sort, { cursor, limit, scope: actor.scope });
    return ok({ items: [...page.items], cursor: page.cursor });
  },
  watchFlows({ flows }, { actor, query }) {
    return {
      kind: 'stream',
      open: (write) => flows.watch(query, actor.scope, (arrived) => void arrived.every((flow) => write(flow))),
    };
  },
  async listQuestions({ questions }, { actor, query }) {
    const { cursor, limit, ...filter } = query;
    const page = await questions.list(filter, { cursor, limit, scope: actor.scope });
    return ok({ items: [...page.items], cursor: page.cursor });
  },
  watchQuestions({ questions }, { actor, query }) {
    return {
      kind: 'stream',
      open: (write) =>
        questions.watch((question) => {
          if (visible(question, actor) && questionMatches(question, query)) write(question);
        }),
    };
  },
  async getQuestion({ questions }, { actor, params }) {
    const question = await questions.get(params['id']!);
    return question !== null && visible(question, actor) ? ok(question) : noQuestion(params['id']!);
  },
  async approveQuestion(services, request) {
    const { forSeconds } = request.body;
    return answer(services, request, 'question.approved', ({ questions }, id) =>
      questions.approve(id, request.actor, { forSeconds }),
    );
  },
  async refuseQuestion(services, request) {
    return answer(services, request, 'question.refused', ({ questions }, id) => questions.refuse(id, request.actor));
  },
  listDivergences({ divergences, inventory, committer }, { actor, query }) {
    const { cursor, limit, ...rest } = query;
    // By id or name; what is gone from the inventory is known by its id alone.
    const found = query.workload === undefined ? null : findWorkload(inventory, committer, query.workload);
    const filter = found === null ? rest : { ...rest, workload: found.workload };
    const page = divergences.list(filter, { cursor, limit, scope: actor.scope }, (workload) => {
      if (actor.scope === null) return true;
      const view = workload === null ? null : inventory.workload(workload);
      return view !== null && inScope(actor, view.segments);
    });
    return ok({ items: [...page.items], cursor: page.cursor });
  },
};

async function answer(
  services: ApiServices,
  request: HandlerRequest<'approveQuestion'> | HandlerRequest<'refuseQuestion'>,
  action: string,
  give: (services: ApiServices, id: string) => Promise<AnswerResult>,
) {
  const id = request.params['id']!;
  const question = await services.questions.get(id);
  if (question === null || !visible(question, request.actor)) return noQuestion(id);
  const result = await give(services, id);
  const details = { kind: result.kind, ...(result.kind === 'not-allowed' ? { why: result.why } : {}) };
  await services.audit.record({
    actor: request.by,
    action: result.kind === 'answered' ? action : `${action}.failed`,
    subject: id,
    details,
  });
  switch (result.kind) {
    case 'answered':
      return ok(result.question);
    case 'not-found':
      return noQuestion(id);
    case 'not-waiting':
      return failure('conflict', `Question ${id} does not wait for an answer.`, {
        why: `It is ${result.question.state}${result.question.by === null ? '' : `, by ${result.question.by}`}.`,
        do: 'Nothing: it is settled.',
      });
    case 'not-allowed':
      return failure('forbidden', 'You may not answer this question.', {
        why: result.why,
        do: 'Ask somebody who may.',
      });
  }
}

function noQuestion(id: string): Failure {
  return notFound(`question ${id}`, 'List the questions.');
}

/** A person with a scope sees a question if either end is in it. */
function visible(question: QuestionRecord, actor: HandlerRequest<'getQuestion'>['actor']): boolean {
  return inScope(actor, question.source.segments, question.destination.segments);
}

function questionMatches(question: QuestionRecord, filter: QuestionFilter): boolean {
  const ends = [question.source, question.destination];
  return (
    (filter.state === undefined || question.state === filter.state) &&
    (filter.host === undefined || question.host === filter.host) &&
    (filter.sinceMs === undefined || question.atMs >= filter.sinceMs) &&
    (filter.workload === undefined ||
      ends.some((end) => end.workload === filter.workload || end.name === filter.workload)) &&
    (filter.segment === undefined || ends.some((end) => end.segments.includes(filter.segment!)))
  );
}
