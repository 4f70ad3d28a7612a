/** What the manager is asked: answered by a condition, or by a person. */
import { valueOf } from '../../client/failure.ts';
import { connectFrom } from '../attempt.ts';
import {
  declare,
  declareEnding,
  declareFlow,
  showAttempt,
  showFlow,
  showQuestion,
  type Show,
  type Step,
} from '../step.ts';
import type { Stage } from '../stage.ts';
import { waitForFlow, waitForQuestion, type Seen } from '../witness.ts';

export const askedAndAllowed: Step = {
  title: 'Asked, and allowed by a condition',
  story:
    'The desk may use the database only if the manager says so: the first packet is held, the question logged, its `when` evaluated, the very same packet released. PostgreSQL notices nothing.',
  async run({ engine, api }, show) {
    const sinceMs = Date.now();
    const sql =
      "select 'PostgreSQL ' || current_setting('server_version') || ' has ' || count(*) || ' orders' from orders";
    show({ kind: 'tried', text: 'in container desk: psql to orders-db' });
    const answer = await engine.docker('exec', 'desk', 'psql', '--no-psqlrc', '-At', '-c', sql);
    show({ kind: 'returned', text: answer, tone: 'good' });
    const flow = await waitForFlow(
      api,
      { from: 'desk', to: 'orders-db', port: 5432, sinceMs },
      (each) => each.verdict === 'allow',
    );
    showFlow(show, flow);
    const question = await waitForQuestion(
      api,
      { from: 'desk', to: 'orders-db', sinceMs },
      (each) => each.verdict === 'allow',
    );
    showQuestion(show, question);
    declare(show, 'the database answers', answer.startsWith('PostgreSQL'), answer);
    declareFlow(show, flow, 'allow', 'application/orders/desk-to-orders');
    declare(show, 'the rule answered', question?.verdict === 'allow', question?.verdict ?? 'no question');
  },
};

export const askedAndRefused: Step = {
  title: 'Asked, and refused by a condition',
  story: 'The buying side asks for the database too. It has no clearance, so the answer is no, said aloud.',
  async run({ engine, api }, show) {
    const sinceMs = Date.now();
    const attempt = await connectFrom(engine, 'buy-signals', { host: 'orders-db', port: 5432, timeoutMs: 4000 });
    showAttempt(show, 'in container buy-signals: connect to orders-db:5432', attempt);
    const flow = await waitForFlow(api, { from: 'buy-signals', to: 'orders-db', port: 5432, sinceMs });
    showFlow(show, flow);
    const question = await waitForQuestion(
      api,
      { from: 'buy-signals', to: 'orders-db', sinceMs },
      (each) => each.verdict !== null,
    );
    showQuestion(show, question);
    declareEnding(show, 'refused', attempt);
    declare(show, 'the condition said no', question?.verdict === 'reject', question?.verdict ?? 'no question');
  },
};

/** Nearly as long as the rule gives the person, so that the answer reaches the very same connect(). */
const approvalMs = 110_000;

export const askedAndApproved: Step = {
  title: 'Asked, and approved by a person',
  story:
    'Money leaves only when a person says so. The desk is in connect() all the while, and does not know that it waits.',
  async run(stage, show) {
    const { engine, api, approver, ask } = stage;
    const sinceMs = Date.now();
    const seen = { from: 'desk', to: 'payments', port: 8443, sinceMs };
    show({ kind: 'tried', text: 'in container desk: connect to payments:8443, and wait' });
    const trying = connectFrom(engine, 'desk', { host: 'payments', port: 8443, timeoutMs: approvalMs });
    const waiting = await waitForQuestion(api, seen, (each) => each.state === 'waiting');
    if (waiting === null) {
      declare(show, 'a question waits for a person', false, 'none does');
      trying.catch(() => undefined);
      await engine.docker('exec', 'desk', 'killall', 'probe');
      return;
    }
    show({ kind: 'note', text: `question ${waiting.id} waits for the role ${waiting.approver ?? 'nobody'}` });
    const yes = await ask('Let the trading desk reach payments?');
    const params = { id: waiting.id };
    const answered = valueOf(
      yes ? await approver.approveQuestion({ params, body: {} }) : await approver.refuseQuestion({ params }),
    );
    show({ kind: 'note', text: `${answered.by ?? 'somebody'} ${yes ? 'approved' : 'refused'} it` });
    if (!yes) return refusedBy(stage, show, trying, seen);
    const attempt = await trying;
    showAttempt(show, 'the same connect()', attempt);
    const flow = await waitForFlow(api, seen, (each) => each.verdict === 'allow');
    showFlow(show, flow);
    declareEnding(show, 'connected', attempt);
    declareFlow(show, flow, 'allow', 'application/payments/desk-to-payments');
  },
};

/** The rule denies in silence, so the client would wait on: it is ended, and what the wire showed is what counts. */
async function refusedBy({ engine, api }: Stage, show: Show, trying: Promise<unknown>, seen: Seen): Promise<void> {
  const flow = await waitForFlow(api, seen, (each) => each.verdict !== 'allow');
  showFlow(show, flow);
  trying.catch(() => undefined);
  await engine.docker('exec', 'desk', 'killall', 'probe');
  const question = await waitForQuestion(api, seen, (each) => each.verdict !== null);
  declareFlow(show, flow, 'deny', 'application/payments/desk-to-payments');
  declare(
    show,
    'refused by a person',
    question?.verdict === 'deny' && question.by !== 'rule',
    question?.by ?? 'nobody',
  );
}
