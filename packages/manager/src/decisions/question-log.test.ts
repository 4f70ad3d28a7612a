/** What is logged about questions: once, as it was answered, with what agents say afterwards, and found again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { approve, approver, everything, withService } from './testing/with-service.ts';
import { workloadOf } from './testing/world.ts';

test('a question that is asked again gets the answer that is logged', async () => {
  await withService(
    [
      { name: 'plain', when: 'flow.ratePerMinute < 5' },
      { name: 'human', approve },
    ],
    async (world, service) => {
      const asked = world.question('plain');
      const [first] = await service.ask('h1', [asked]);
      const [again] = await service.ask('h1', [{ ...asked, ratePerMinute: 50 }]);
      assert.deepEqual(again, first);
      const waiting = world.question('human');
      await service.ask('h1', [waiting]);
      assert.equal((await service.ask('h1', [waiting]))[0]?.verdict, 'pending');
      assert.equal(service.counts().waiting, 1);
    },
  );
});

test('outcomes: decided alone is recorded as such, once; used answers stay', async () => {
  await withService([{ name: 'plain' }, { name: 'human', approve }], async (world, service) => {
    const [alone, used, unused, given] = [
      world.question('plain'),
      world.question('plain'),
      world.question('plain'),
      world.question('human'),
    ];
    await service.ask('h1', [used, unused, given]);
    const outcome = (question: typeof alone, verdict: 'allow' | 'deny', because: string) => ({
      question,
      verdict,
      because,
      atMs: question.atMs + 2_000,
    });
    const report = [
      outcome(alone, 'deny', 'the manager was unreachable'),
      outcome(used, 'allow', 'answered'),
      outcome(unused, 'deny', 'timeout'),
      outcome(given, 'deny', 'agent stopped'),
    ];
    await service.outcomes('h1', report);
    await service.outcomes(
      'h1',
      report.map((one) => ({ ...one, because: 'a second time' })),
    );
    const states = await Promise.all(
      [alone, used, unused, given].map(async ({ id }) => {
        const record = await service.get(id);
        return `${record?.state} ${record?.verdict} ${service.logged(id)?.outcome?.because}`;
      }),
    );
    assert.deepEqual(states, [
      'unreachable deny the manager was unreachable',
      'answered allow answered',
      'unreachable deny timeout',
      'unreachable deny agent stopped',
    ]);
    assert.equal((await service.list({ state: 'unreachable' }, everything)).items.length, 3);
    assert.equal((await service.approve(given.id, approver)).kind, 'not-waiting');
    assert.equal(service.counts().waiting, 0);
  });
});

test('a decision can be explained from the log alone', async () => {
  await withService(
    [{ name: 'day', when: 'time.hour < 18 && source.labels.team == "orders"' }],
    async (world, service) => {
      const asked = world.question('day');
      await service.ask('h1', [asked]);
      const logged = service.logged(asked.id);
      assert.deepEqual(
        logged?.inputs.conditions.map(({ rule, outcome }) => [rule, outcome]),
        [['application/orders/day', 'holds']],
      );
      assert.equal(logged?.inputs.source?.labels['team'], 'orders');
      assert.equal(logged?.inputs.judgedMs, world.clock.nowMs());
    },
  );
});

test('the list goes backwards page by page, with filters', async () => {
  await withService([{ name: 'plain' }], async (world, service) => {
    const ids: string[] = [];
    for (let batch = 0; batch < 30; batch += 1) {
      const questions = Array.from({ length: 200 }, (_, place) =>
        world.question('plain', {}, batch === 3 && place === 7 ? 'desk-2' : 'desk-1'),
      );
      ids.push(...questions.map(({ id }) => id));
      await service.ask('h1', questions);
    }
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page = await service.list({}, { limit: 999, scope: ['desk'], ...(cursor === null ? {} : { cursor }) });
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.cursor;
    } while (cursor !== null);
    assert.deepEqual(seen, ids.toReversed());
    const rare = await service.list(
      { workload: 'h1/docker/desk-2', segment: 'database', host: 'h1', sinceMs: 0 },
      everything,
    );
    assert.deepEqual([rare.items.map(({ id }) => id), rare.cursor], [[ids[607]], null]);
    const named = await service.list({ workload: 'desk-2' }, everything);
    assert.deepEqual(
      named.items.map(({ id }) => id),
      [ids[607]],
      'by the name that people know, as a watch does',
    );
  });
});

test('a host whose name begins like another’s cannot speak about its questions', async () => {
  await withService([{ name: 'plain' }, { name: 'human', approve }], async (world, service) => {
    const [one, two] = ['one', 'two'].map((end) => `a-name-of-24-characters-${end}`) as [string, string];
    for (const host of [one, two]) {
      world.workloads.set(`h1/docker/${host}`, workloadOf(host, 'desk', { host, workload: `h1/docker/${host}` }));
    }
    const ids = ['plain', 'human'].map((rule) => ({ rule, id: `a-name-of-24-characters-:run:${rule}` }));
    for (const { rule, id } of ids) {
      const own = world.question(rule, { id }, one);
      assert.equal((await service.ask(one, [own])).length, 1);
      assert.deepEqual(await service.ask(two, [world.question(rule, { id }, two)]), []);
      await service.outcomes(two, [{ question: own, verdict: 'deny', because: 'forged', atMs: 0 }]);
      const logged = service.logged(id);
      assert.deepEqual([logged?.record.host, logged?.outcome], [one, null]);
    }
    assert.equal((await service.approve(ids[1]!.id, approver)).kind, 'answered');
    assert.equal(service.counts().unanswered, 2);
  });
});
