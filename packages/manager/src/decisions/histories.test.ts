/**
 * Random histories of questions, people, outcomes, changes of rules, passing time and restarts, against what must hold in all of them:
 * a question gets one final answer; nothing is allowed that a rule in force forbids or a human did not grant; whatever was answered is
 * in the log as it was answered; nothing waits for ever.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { DecisionMessage, QuestionMessage } from '@bulkhead/protocol';
import fc from 'fast-check';
import type { Actor } from '../services.ts';
import type { Questions } from './question-service.ts';
import { openSqliteQuestionLog } from './sqlite-question-log.ts';
import { World, policySetOf, workloadOf } from './testing/world.ts';

const directory = mkdtempSync(join(tmpdir(), 'bulkhead-histories-'));
after(() => rmSync(directory, { recursive: true }));
let files = 0;

const ruleNames = ['never', 'always', 'human', 'quick', 'remembered'] as const;
const rules = (open: boolean): Record<string, unknown>[] => [
  { name: 'never', when: 'false', otherwise: 'reject' },
  { name: 'always', when: 'source.segments.exists(s, s == "desk")' },
  { name: 'human', when: open ? 'true' : 'false', approve: { by: 'approver', within: '10m' } },
  { name: 'quick', approve: { by: 'approver', within: '5s' }, pending: 'refuse' },
  {
    name: 'remembered',
    when: 'source.generation < 3',
    approve: { by: 'administrator', within: '1m' },
    remember: { scope: 'pair', forSeconds: 30 },
  },
];

type Step =
  | { readonly kind: 'ask'; readonly rules: readonly string[]; readonly from: string; readonly count: number }
  | { readonly kind: 'answer'; readonly nth: number; readonly approve: boolean; readonly role: string }
  | { readonly kind: 'outcome'; readonly nth: number }
  | { readonly kind: 'wait'; readonly seconds: number }
  | { readonly kind: 'restart' }
  | { readonly kind: 'rules'; readonly open: boolean }
  | { readonly kind: 'generation'; readonly from: string };

const from = fc.constantFrom('desk-1', 'desk-2');
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      rules: fc.uniqueArray(fc.constantFrom(...ruleNames), { minLength: 1, maxLength: 2 }),
      from,
      count: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('answer' as const),
      nth: fc.nat(20),
      approve: fc.boolean(),
      role: fc.constantFrom('approver', 'administrator', 'viewer'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('outcome' as const), nth: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), seconds: fc.constantFrom(1, 4, 40, 700) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('rules' as const), open: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('generation' as const), from }) },
);

/** One history: the service under it may be restarted, what agents and people saw is not forgotten. */
class History {
  readonly world = new World(rules(true));
  readonly file = join(directory, `${(files += 1)}.sqlite`);
  readonly asked = new Map<string, QuestionMessage>();
  readonly final = new Map<string, DecisionMessage>();
  readonly pending = new Set<string>();
  readonly granted = new Set<string>();
  readonly outcomes = new Set<string>();
  /** Whether the condition of `human` holds. */
  open = true;
  service: Questions = this.#open();

  #open(): Questions {
    const service = this.world.service(openSqliteQuestionLog(this.file));
    service.onDecision((_, decisions) => decisions.forEach((decision) => this.#saw(decision)));
    return service;
  }

  #saw(decision: DecisionMessage): void {
    const { question, verdict } = decision;
    if (verdict === 'pending') {
      this.pending.add(question);
      return;
    }
    this.pending.delete(question);
    const before = this.final.get(question);
    assert.ok(before === undefined || before.verdict === verdict, `${question}: ${before?.verdict}, then ${verdict}`);
    this.final.set(question, decision);
    if (verdict === 'allow') this.#checkAllowed(question, decision);
  }

  #checkAllowed(id: string, { why }: DecisionMessage): void {
    const named = this.asked.get(id)!.rules.map(({ rule }) => rule);
    assert.ok(!named.includes('never'), `${id} was allowed against its rule: ${why}`);
    if (named.includes('human')) assert.ok(this.open, `${id} was allowed while its condition did not hold: ${why}`);
    const generation = this.world.workloads.get(this.asked.get(id)!.source.workload!)!.generation;
    assert.equal(generation, this.asked.get(id)!.source.generation, `${id} was allowed for another generation`);
    if (named.includes('remembered')) assert.ok(generation < 3, `${id} was allowed while its condition did not hold`);
    const record = this.service.logged(id)?.record ?? assert.fail(`${id} was allowed and is not in the log`);
    const human = named.some((rule) => rule !== 'always');
    if (human)
      assert.ok(record.by !== null && this.granted.has(record.by), `${id} was allowed and nobody granted it: ${why}`);
  }

  async run(one: Step): Promise<void> {
    const { world } = this;
    switch (one.kind) {
      case 'ask': {
        const questions = Array.from({ length: one.count }, () => world.question(one.rules, {}, one.from));
        for (const question of questions) this.asked.set(question.id, question);
        const decisions = await this.service.ask('h1', questions);
        decisions.forEach((decision) => this.#saw(decision));
        const { items } = await this.service.list({ state: 'waiting' }, { limit: 1, scope: null });
        const pending = decisions.some(({ verdict }) => verdict === 'pending');
        assert.ok(!pending || items.length > 0, 'a question waits and nobody can see it');
        break;
      }
      case 'answer': {
        const { items } = await this.service.list({ state: 'waiting' }, { limit: 100, scope: null });
        const waiting = items[one.nth % Math.max(1, items.length)];
        if (waiting === undefined) break;
        const actor: Actor = { name: `person/${one.role}`, role: one.role, scope: null };
        if (one.approve && one.role !== 'viewer') this.granted.add(actor.name);
        await (one.approve ? this.service.approve(waiting.id, actor) : this.service.refuse(waiting.id, actor));
        break;
      }
      case 'outcome': {
        const id = [...this.pending][one.nth % Math.max(1, this.pending.size)];
        if (id === undefined) break;
        this.pending.delete(id);
        this.outcomes.add(id);
        const outcome = {
          question: this.asked.get(id)!,
          verdict: 'deny',
          because: 'the agent stopped',
          atMs: world.clock.nowMs(),
        } as const;
        await this.service.outcomes('h1', [outcome]);
        break;
      }
      case 'wait':
        await this.pass(one.seconds * 1_000);
        break;
      case 'restart':
        await this.service[Symbol.asyncDispose]();
        this.service = this.#open();
        break;
      case 'rules':
        this.open = one.open;
        world.policySet = policySetOf(rules(one.open));
        break;
      case 'generation': {
        const id = `h1/docker/${one.from}`;
        world.workloads.set(id, workloadOf(one.from, 'desk', { generation: world.workloads.get(id)!.generation + 1 }));
        break;
      }
    }
  }

  /** Lets time pass and what falls due be written: an expiry sets the next timer only when it is in the log. */
  async pass(milliseconds: number): Promise<void> {
    this.world.clock.advance(milliseconds);
    for (let turn = 0; turn < 5; turn += 1) {
      await this.service.outcomes('h1', []);
      this.world.clock.advance(0);
    }
  }

  async end(): Promise<void> {
    // Beyond every `within`; each question that waits expires, whatever was restarted meanwhile.
    await this.pass(3_600_000);
    assert.deepEqual((await this.service.list({ state: 'waiting' }, { limit: 10, scope: null })).items, []);
    assert.deepEqual([...this.pending], [], 'a held packet without an answer');
    for (const id of this.asked.keys()) {
      const logged = this.service.logged(id) ?? assert.fail(`${id} is not in the log`);
      const seen = this.final.get(id);
      const refusedMeanwhile = seen?.verdict === 'reject' && logged.record.rules.some(({ rule }) => rule === 'quick');
      if (seen !== undefined && !refusedMeanwhile) assert.equal(logged.record.verdict, seen.verdict, id);
      if (this.outcomes.has(id)) assert.equal(logged.outcome?.because, 'the agent stopped');
    }
    assert.deepEqual(this.world.faults, []);
    await this.service[Symbol.asyncDispose]();
  }
}

test('random histories of questions and answers', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const history = new History();
      try {
        for (const one of steps) await history.run(one);
        await history.end();
      } finally {
        await history.service[Symbol.asyncDispose]();
      }
    }),
    { numRuns: 150 },
  );
});
