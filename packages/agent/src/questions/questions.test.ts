import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tcpFlag } from '@bulkhead/kernel';
import type { QuestionMessage } from '@bulkhead/protocol';
import { AgentFixture, outcomeOf } from '../testing/agent-fixture.ts';
import { policy, rule, segment } from '../testing/documents.ts';
import { decisionOf } from '../testing/scripted-manager.ts';
import { questionLimits } from './limits.ts';

async function asking(terms: Record<string, unknown> = {}): Promise<AgentFixture> {
  const fixture = await AgentFixture.start();
  fixture.manager.apply(
    segment('web', { app: 'web' }),
    segment('database', { app: 'database' }),
    policy('app', rule('may-i', 'ask', 'web', 'database', 5432, terms)),
  );
  await fixture.attach('a', { app: 'web' }, '10.0.0.1');
  await fixture.attach('b', { app: 'database' }, '10.0.0.2');
  await fixture.attach('c', { app: 'web' }, '10.0.0.3');
  return fixture;
}

function decide(fixture: AgentFixture, question: QuestionMessage, verdict: 'allow' | 'deny' | 'reject'): void {
  fixture.manager.send({ type: 'decisions', body: { decisions: [decisionOf(question, { verdict })] } });
}

const port = 5432;

test('the answer decides: allowed goes on, denied is silent, rejected is told', async () => {
  await using fixture = await asking();
  for (const [verdict, outcome] of [
    ['allow', 'allowed'],
    ['deny', 'denied'],
    ['reject', 'rejected'],
  ] as const) {
    fixture.manager.answer = () => ({ verdict });
    fixture.released.length = 0;
    assert.equal(await fixture.outcome('a', 'b', { port }), 'held');
    assert.deepEqual(fixture.released.map(outcomeOf), [outcome]);
  }
  const [question] = fixture.manager.questions;
  assert.deepEqual(question!.rules, [{ tier: 'application', policy: 'app', rule: 'may-i' }]);
  assert.equal(question!.source.workload, 'h1/netns/a');
  assert.equal(question!.destination.workload, 'h1/netns/b');
  assert.equal(question!.source.generation, 1);
  assert.equal(question!.destination.port, port);
  assert.equal(new Set(fixture.manager.questions.map(({ id }) => id)).size, 3, 'ids are unique');
});

test('connections of one pair to one port are one question', async () => {
  await using fixture = await asking();
  for (let each = 0; each < 5; each++) await fixture.connect('a', 'b', { port });
  await fixture.connect('c', 'b', { port });
  assert.equal(fixture.manager.questions.length, 2);
  decide(fixture, fixture.manager.questions[0]!, 'allow');
  assert.deepEqual(fixture.released.map(outcomeOf), ['allowed', 'allowed', 'allowed', 'allowed', 'allowed']);
  assert.equal(fixture.agent.status().questions.waiting, 1);
});

test('no answer: the rule says what happens after its time, and the journal has it', async () => {
  await using fixture = await asking({ hold: { timeoutMs: 500, unreachable: 'reject' } });
  await fixture.connect('a', 'b', { port });
  await fixture.clock.advance(499);
  assert.equal(fixture.released.length, 0);
  await fixture.clock.advance(2);
  assert.deepEqual(fixture.released.map(outcomeOf), ['rejected']);
  decide(fixture, fixture.manager.questions[0]!, 'allow');
  assert.equal(fixture.released.length, 1, 'an answer that is too late changes nothing');
  await fixture.clock.advance(1000);
  const [outcome] = fixture.manager.outcomes;
  assert.equal(outcome?.verdict, 'reject');
  assert.equal(outcome?.because, 'timeout');
  assert.equal(outcome?.question.id, fixture.manager.questions[0]!.id);
  assert.equal(fixture.agent.status().questions.late, 1);
});

test('unreachable manager: denied, and told when it is back', async () => {
  await using fixture = await asking();
  fixture.manager.setReachable(false);
  await fixture.connect('a', 'b', { port });
  await fixture.clock.advance(3000);
  assert.deepEqual(fixture.released.map(outcomeOf), ['denied']);
  fixture.manager.setReachable(true);
  await fixture.clock.advance(100);
  assert.deepEqual(
    fixture.manager.outcomes.map(({ because }) => because),
    ['manager unreachable'],
  );
});

test('a manager that comes back in time is asked again, under the same id', async () => {
  await using fixture = await asking();
  await fixture.connect('a', 'b', { port });
  fixture.manager.setReachable(false);
  await fixture.clock.advance(1000);
  fixture.manager.answer = () => ({ verdict: 'allow' });
  fixture.manager.setReachable(true);
  await fixture.clock.advance(1);
  assert.deepEqual(fixture.released.map(outcomeOf), ['allowed']);
  assert.equal(new Set(fixture.manager.questions.map(({ id }) => id)).size, 1);
});

test('answers for pairs and identities are used again until they expire', async () => {
  await using fixture = await asking();
  fixture.manager.answer = () => ({ verdict: 'allow', scope: 'pair', forSeconds: 60 });
  await fixture.connect('a', 'b', { port });
  await fixture.connect('a', 'b', { port });
  assert.equal(fixture.manager.questions.length, 1);
  await fixture.connect('c', 'b', { port });
  assert.equal(fixture.manager.questions.length, 2, 'another pair is another question');
  fixture.manager.answer = () => ({ verdict: 'allow', scope: 'identities', forSeconds: 60 });
  await fixture.clock.advance(61_000);
  await fixture.connect('a', 'b', { port });
  await fixture.connect('c', 'b', { port });
  assert.equal(fixture.manager.questions.length, 3, 'one answer for both, whose labels are the same');
  assert.deepEqual(new Set(fixture.released.map(outcomeOf)), new Set(['allowed']));
  assert.equal(fixture.manager.outcomes.length, 1, 'the use of an answer is recorded');
});

test('an answer does not outlive its generation, nor the terms of its rule', async () => {
  await using fixture = await asking();
  fixture.manager.answer = () => ({ verdict: 'allow', scope: 'pair', forSeconds: 600 });
  await fixture.connect('a', 'b', { port });
  fixture.bind('b', { app: 'database' }, { generation: 2 });
  await fixture.clock.advance(10);
  await fixture.connect('a', 'b', { port });
  assert.equal(fixture.manager.questions.length, 2);
  fixture.manager.apply(policy('app', rule('may-i', 'ask', 'web', 'database', port, { hold: { timeoutMs: 1234 } })));
  await fixture.clock.advance(10);
  await fixture.connect('a', 'b', { port });
  assert.equal(fixture.manager.questions.length, 3);
});

test('an admitted connection is asked about again when the terms of its rule change, and not when anything else does', async () => {
  await using fixture = await asking();
  fixture.manager.answer = () => ({ verdict: 'allow' });
  const attempt = { port, sourcePort: 40_000 };
  assert.equal(await fixture.outcome('a', 'b', attempt), 'held');
  const others = rule('another', 'allow', 'web', 'database', 80);
  fixture.manager.apply(policy('app', rule('may-i', 'ask', 'web', 'database', port), others));
  await fixture.clock.advance(100);
  const later = { ...attempt, tcpFlags: tcpFlag.ack };
  assert.equal(await fixture.outcome('a', 'b', later), 'allowed');
  assert.equal(fixture.manager.questions.length, 1);
  fixture.manager.apply(
    policy('app', rule('may-i', 'ask', 'web', 'database', port, { when: 'flow.port > 1' }), others),
  );
  await fixture.clock.advance(100);
  assert.equal(await fixture.outcome('a', 'b', later), 'held');
  assert.equal(fixture.manager.questions.length, 2);
});

test('pending holds until it expires, and a human’s answer in between lets the same packet through', async () => {
  await using fixture = await asking();
  fixture.manager.answer = ({ atMs }) => ({ verdict: 'pending', expiresMs: atMs + 600_000 });
  await fixture.connect('a', 'b', { port });
  await fixture.clock.advance(300_000);
  assert.equal(fixture.released.length, 0);
  decide(fixture, { ...fixture.manager.questions[0]!, atMs: fixture.clock.nowMs() }, 'allow');
  assert.deepEqual(fixture.released.map(outcomeOf), ['allowed']);
  await fixture.connect('c', 'b', { port });
  await fixture.clock.advance(601_000);
  assert.deepEqual(fixture.released.map(outcomeOf), ['allowed', 'denied']);
  assert.deepEqual(
    fixture.manager.outcomes.map(({ because }) => because),
    ['nobody answered in time'],
  );
});

test('policy that changed while a question waited makes its answer stale', async () => {
  await using fixture = await asking();
  await fixture.connect('a', 'b', { port });
  fixture.manager.apply(policy('app', rule('may-i', 'deny', 'web', 'database', port)));
  await fixture.clock.advance(10);
  decide(fixture, fixture.manager.questions[0]!, 'allow');
  assert.deepEqual(fixture.released.map(outcomeOf), ['denied']);
  assert.equal(await fixture.outcome('a', 'b', { port }), 'denied');
});

test('one workload’s flood is bounded and leaves room for the questions of others', async () => {
  await using fixture = await asking();
  for (let each = 0; each < questionLimits.packetsPerQuestionMax + 50; each++) fixture.sendFrom('a', 'b', { port });
  await fixture.clock.advance(1);
  const { held, overflowed } = fixture.agent.status().questions;
  assert.ok(held <= questionLimits.packetsPerQuestionMax);
  assert.ok(overflowed >= 50, 'what did not fit is counted');
  await fixture.connect('c', 'b', { port });
  assert.equal(fixture.manager.questions.length, 2);
});

test('the rate of a pair is told with the question', async () => {
  await using fixture = await asking();
  fixture.manager.answer = () => ({ verdict: 'deny' });
  for (let each = 0; each < 4; each++) await fixture.connect('a', 'b', { port });
  assert.deepEqual(
    fixture.manager.questions.map(({ ratePerMinute }) => ratePerMinute),
    [1, 2, 3, 4],
  );
  await fixture.clock.advance(120_000);
  await fixture.connect('a', 'b', { port });
  assert.equal(fixture.manager.questions.at(-1)!.ratePerMinute, 1);
});

test('a refused connection is a flow that names its question', async () => {
  await using fixture = await asking();
  fixture.manager.answer = () => ({ verdict: 'reject' });
  await fixture.connect('a', 'b', { port });
  await fixture.clock.advance(3000);
  const flow = fixture.manager.flows.find(({ question }) => question !== null);
  assert.equal(flow?.question, fixture.manager.questions[0]!.id);
  assert.equal(flow?.egressReason, 'application/app/may-i');
  assert.equal(flow?.verdict, 'reject');
});
