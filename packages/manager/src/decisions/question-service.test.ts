import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DecisionMessage, QuestionRecord } from '@bulkhead/protocol';
import type { Actor } from '../services.ts';
import { openSqliteQuestionLog } from './sqlite-question-log.ts';
import { approve, approver, askOne, everything, newFile, withService } from './testing/with-service.ts';
import { World, workloadOf } from './testing/world.ts';

test('a condition that holds allows, one that does not gives otherwise, one without an answer never allows', async () => {
  const rules = [
    { name: 'holds', when: 'time.hour >= 8 && time.hour < 18 && source.class == "microvm"' },
    { name: 'night', when: 'time.hour < 5', otherwise: 'reject' },
    { name: 'fault', when: 'source.labels.nothing == "x"', otherwise: 'allow' },
    { name: 'plain' },
  ];
  await withService(rules, async (world, service) => {
    const verdicts = await Promise.all(
      ['holds', 'night', 'fault', 'plain'].map((rule) => askOne(world, service, rule)),
    );
    assert.deepEqual(
      verdicts.map(({ verdict }) => verdict),
      ['allow', 'reject', 'deny', 'allow'],
    );
    assert.match(verdicts[2]!.why, /no answer: There is no key "nothing"/);
    assert.equal(verdicts[0]!.expiresMs, world.clock.nowMs() + 2_000);
  });
});

test('both rules must hold', async () => {
  await withService(
    [
      { name: 'yes', when: 'true' },
      { name: 'no', when: 'false', otherwise: 'reject' },
    ],
    async (world, service) => {
      assert.equal((await askOne(world, service, ['yes', 'no'])).verdict, 'reject');
      assert.equal((await askOne(world, service, ['no', 'yes'])).verdict, 'reject');
      assert.equal((await askOne(world, service, ['yes', 'yes'])).verdict, 'allow');
    },
  );
});

test('what is not known is denied: rule, workload, generation, somebody else’s workloads', async () => {
  await withService([{ name: 'plain' }], async (world, service) => {
    assert.match((await askOne(world, service, 'gone')).why, /asks nothing at revision 7/);
    assert.equal((await askOne(world, service, 'plain', {}, 'stranger')).verdict, 'deny');
    const late = world.question('plain');
    world.workloads.set('h1/docker/desk-1', workloadOf('desk-1', 'desk', { generation: 2 }));
    assert.equal((await service.ask('h1', [late]))[0]?.verdict, 'deny');
    const foreign = { ...world.question('plain'), id: 'h2:boot:1' };
    assert.equal((await service.ask('h2', [foreign]))[0]?.verdict, 'deny');
    assert.deepEqual(await service.ask('h2', [world.question('plain')]), [], 'ids of another host are left unanswered');
  });
});

test('an answer is reused no further than its condition allows', async () => {
  const remember = { scope: 'identities', forSeconds: 60 };
  const rules = [
    { name: 'segments', when: '"desk" in source.segments', remember },
    { name: 'workload', when: 'source.name == "desk-1"', remember },
    { name: 'time', when: 'time.hour > 1', remember },
    { name: 'rate', when: 'flow.ratePerMinute < 30', remember },
    { name: 'pair', when: 'true', remember: { scope: 'pair', forSeconds: 10 } },
  ];
  await withService(rules, async (world, service) => {
    const scopes: string[] = [];
    for (const rule of ['segments', 'workload', 'time', 'rate', ['segments', 'pair']]) {
      const { scope, forSeconds } = await askOne(world, service, rule);
      scopes.push(`${scope} ${forSeconds}`);
    }
    assert.deepEqual(scopes, ['identities 60', 'pair 60', 'connection 0', 'connection 0', 'pair 10']);
  });
});

test('a human approves: the held packet gets its answer', async () => {
  await withService([{ name: 'human', approve }], async (world, service) => {
    const seen: QuestionRecord[] = [];
    const late: DecisionMessage[] = [];
    service.watch((question) => seen.push(question));
    service.onDecision((_, decisions) => late.push(...decisions));
    const asked = world.question('human');
    const [pending] = await service.ask('h1', [asked]);
    assert.equal(pending?.verdict, 'pending');
    assert.equal(pending?.expiresMs, asked.atMs + 600_000);
    assert.equal((await service.list({ state: 'waiting' }, everything)).items.length, 1);
    world.clock.advance(5_000);
    const result = await service.approve(asked.id, approver);
    assert.equal(result.kind, 'answered');
    assert.deepEqual(
      late.map(({ question, verdict }) => [question, verdict]),
      [[asked.id, 'allow']],
    );
    assert.deepEqual(
      service.undelivered('h1').map(({ question }) => question),
      [asked.id],
    );
    assert.deepEqual(
      seen.map(({ state, by }) => [state, by]),
      [
        ['waiting', null],
        ['answered', 'person/ada'],
      ],
    );
    assert.equal((await service.refuse(asked.id, approver)).kind, 'not-waiting');
    assert.equal((await service.approve('h1:boot:none', approver)).kind, 'not-found');
    world.clock.advance(600_000);
    assert.deepEqual(service.undelivered('h1'), []);
  });
});

const as = (role: string, scope: string[] | null): Actor => ({ name: 'person/eve', role, scope });

test('only the role and scope that the question is for answers it', async () => {
  await withService([{ name: 'human', approve }], async (world, service) => {
    const asked = world.question('human');
    await service.ask('h1', [asked]);
    assert.equal((await service.approve(asked.id, as('operator', null))).kind, 'not-allowed');
    assert.equal((await service.approve(asked.id, as('approver', ['desk']))).kind, 'not-allowed');
    assert.equal((await service.approve(asked.id, as('approver', ['elsewhere']))).kind, 'not-found');
    assert.equal((await service.list({}, { limit: 10, scope: ['elsewhere'] })).items.length, 0);
    assert.equal((await service.list({}, { limit: 10, scope: ['desk'] })).items.length, 1);
    assert.equal((await service.approve(asked.id, as('approver', ['database']))).kind, 'answered');
  });
});

test('nobody answers in time: denied, and said', async () => {
  await withService([{ name: 'human', approve }], async (world, service) => {
    const { promise, resolve } = Promise.withResolvers<DecisionMessage>();
    service.onDecision((_, decisions) => resolve(decisions[0]!));
    const asked = world.question('human');
    await service.ask('h1', [asked]);
    world.clock.advance(600_000);
    assert.equal((await promise).verdict, 'deny');
    assert.equal((await service.get(asked.id))?.state, 'expired');
    assert.equal((await service.approve(asked.id, approver)).kind, 'not-waiting');
  });
});

test('a refusal and two roles', async () => {
  const rules = [
    { name: 'human', approve },
    { name: 'other', approve: { by: 'administrator', within: '1m' }, otherwise: 'reject', when: 'true' },
  ];
  await withService(rules, async (world, service) => {
    const refused = world.question('other');
    await service.ask('h1', [refused]);
    const administrator = { ...approver, role: 'administrator', name: 'person/root' };
    const result = await service.refuse(refused.id, administrator);
    assert.equal(result.kind === 'answered' && result.question.verdict, 'reject');
    const both = world.question(['human', 'other']);
    await service.ask('h1', [both]);
    assert.equal((await service.get(both.id))?.expiresMs, world.clock.nowMs() + 60_000);
    assert.equal((await service.approve(both.id, approver)).kind, 'answered');
    assert.equal((await service.get(both.id))?.state, 'waiting');
    assert.equal((await service.approve(both.id, approver)).kind, 'not-allowed');
    await service.approve(both.id, administrator);
    assert.equal((await service.get(both.id))?.verdict, 'allow');
  });
});

test('equal questions in flight are one question for humans, each is logged and answered', async () => {
  await withService([{ name: 'human', approve }], async (world, service) => {
    const late: string[] = [];
    service.onDecision((_, decisions) =>
      late.push(...decisions.map(({ question, verdict }) => `${question} ${verdict}`)),
    );
    const [first, second, other] = [
      world.question('human'),
      world.question('human'),
      world.question('human', {}, 'desk-2'),
    ];
    assert.equal((await service.ask('h1', [first, second, other])).length, 3);
    assert.deepEqual(
      (await service.list({ state: 'waiting' }, everything)).items.map(({ id }) => id),
      [other.id, first.id],
    );
    await service.approve(second.id, approver);
    assert.deepEqual(late, [`${first.id} allow`, `${second.id} allow`]);
    assert.equal((await service.get(other.id))?.state, 'waiting');
    assert.equal((await service.get(second.id))?.by, 'person/ada');
  });
});

test('an approval does not open what the rules forbid by then', async () => {
  await withService([{ name: 'human', approve, when: 'time.hour < 10' }], async (world, service) => {
    const [old, changed] = [world.question('human'), world.question('human', {}, 'desk-2')];
    await service.ask('h1', [old, changed]);
    world.workloads.set('h1/docker/desk-2', workloadOf('desk-2', 'desk', { generation: 2 }));
    await service.approve(changed.id, approver);
    const record = await service.get(changed.id);
    assert.deepEqual([record?.verdict, record?.state], ['deny', 'answered']);
    assert.match(record?.why ?? '', /approved by person\/ada, but while it waited/);
    assert.equal((await service.get(old.id))?.state, 'waiting');
  });
});

test('pending: refuse rejects at once, and the next attempt passes after the approval', async () => {
  await withService([{ name: 'human', approve, pending: 'refuse' }], async (world, service) => {
    const asked = world.question('human');
    assert.equal((await service.ask('h1', [asked]))[0]?.verdict, 'reject');
    await service.approve(asked.id, approver);
    assert.deepEqual(service.undelivered('h1'), []);
    assert.equal((await askOne(world, service, 'human')).verdict, 'allow');
    assert.equal((await askOne(world, service, 'human', {}, 'desk-2')).verdict, 'reject');
  });
});

test('what a human decided is remembered as far as the rule says, over a restart, and is not asked again', async () => {
  const world = new World([
    { name: 'pair', approve, remember: { scope: 'pair', forSeconds: 3_600 } },
    { name: 'identities', approve, remember: { scope: 'identities', forSeconds: 3_600 } },
  ]);
  const file = newFile();
  {
    await using service = world.service(openSqliteQuestionLog(file));
    for (const rule of ['pair', 'identities']) {
      const asked = world.question(rule);
      await service.ask('h1', [asked]);
      const result = await service.approve(asked.id, approver, rule === 'pair' ? { forSeconds: 100 } : {});
      assert.equal(result.kind === 'answered' && result.question.forSeconds, rule === 'pair' ? 100 : 3_600);
    }
  }
  await using service = world.service(openSqliteQuestionLog(file));
  world.clock.advance(40_000);
  const again = await askOne(world, service, 'pair');
  assert.deepEqual([again.verdict, again.scope, again.forSeconds], ['allow', 'pair', 60]);
  assert.match(again.why, /person\/ada decided so/);
  assert.equal((await askOne(world, service, 'pair', {}, 'desk-2')).verdict, 'pending');
  assert.equal((await askOne(world, service, 'identities', {}, 'desk-2')).verdict, 'allow');
  world.clock.advance(60_000);
  assert.equal((await askOne(world, service, 'pair')).verdict, 'pending');
});

test('a restart loses nothing: waiting questions can still be answered, late answers still be delivered', async () => {
  const world = new World([{ name: 'human', approve }]);
  const file = newFile();
  const [first, follower, second] = [
    world.question('human'),
    world.question('human'),
    world.question('human', {}, 'desk-2'),
  ];
  {
    await using service = world.service(openSqliteQuestionLog(file));
    await service.ask('h1', [first, follower, second]);
    await service.approve(second.id, approver);
  }
  await using service = world.service(openSqliteQuestionLog(file));
  assert.deepEqual(
    service.undelivered('h1').map(({ question, verdict }) => [question, verdict]),
    [[second.id, 'allow']],
  );
  const late: string[] = [];
  service.onDecision((_, decisions) => late.push(...decisions.map(({ question }) => question)));
  await service.approve(first.id, approver);
  assert.deepEqual(late, [first.id, follower.id]);
});
