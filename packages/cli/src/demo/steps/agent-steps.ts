/** The agent is killed: what is pinned in the kernel goes on, and nothing that would have to be asked is let through. */
import { connectFrom } from '../attempt.ts';
import { declare, declareEnding, showAttempt, showFlow, type Step } from '../step.ts';
import { waitForFlow } from '../witness.ts';

const querySeconds = 4;

export const agentKilled: Step = {
  title: 'The agent is killed',
  story:
    'kill -9. A query that runs goes on, what was allowed stays allowed, what was denied stays denied, and what would have to be asked is denied, since nobody can be asked.',
  async run(stage, show) {
    const { engine, api } = stage;
    const sinceMs = Date.now();
    const sql = `select 'still here' from pg_sleep(${querySeconds})`;
    const query = engine.docker('exec', 'desk', 'psql', '--no-psqlrc', '-At', '-c', sql);
    // A query that fails is a finding below, not an exception in between.
    query.catch(() => undefined);
    await waitForFlow(api, { from: 'desk', to: 'orders-db', port: 5432, sinceMs }, (flow) => flow.verdict === 'allow');
    await stage.killAgent();
    show({ kind: 'tried', text: 'kill -9 of the agent, while desk runs a query on orders-db' });
    const killedMs = Date.now();
    const permitted = await connectFrom(engine, 'web', { host: stage.addressOf('desk'), port: 8080 });
    showAttempt(show, 'in container web: connect to desk:8080', permitted);
    const denied = await connectFrom(engine, 'web', { host: stage.addressOf('orders-db'), port: 5432 });
    showAttempt(show, 'in container web: connect to orders-db:5432', denied);
    const unasked = await connectFrom(engine, 'desk', { host: stage.addressOf('orders-db'), port: 5432 });
    showAttempt(show, 'in container desk: connect to orders-db:5432, which would be asked', unasked);
    const answer = await query.catch((error: unknown) => String(error));
    show({ kind: 'returned', text: `the running query: ${answer}`, tone: answer === 'still here' ? 'good' : 'bad' });
    declareEnding(show, 'connected', permitted);
    declareEnding(show, 'timed-out', denied);
    declareEnding(show, 'timed-out', unasked);
    declare(show, 'the query goes on', answer === 'still here', answer);
    stage.remember('killedMs', killedMs);
  },
};

export const agentBack: Step = {
  title: 'The agent comes back',
  story:
    'It reads what is in the kernel, changes nothing that is right, and delivers the flows that were recorded while it was away.',
  async run(stage, show) {
    const { engine, api } = stage;
    const beganMs = Date.now();
    await stage.startAgent();
    show({ kind: 'tried', text: `start the agent: enforcing again after ${Date.now() - beganMs} ms` });
    const sinceMs = Date.now();
    const attempt = await connectFrom(engine, 'desk', { host: 'orders-db', port: 5432, timeoutMs: 4000 });
    showAttempt(show, 'in container desk: connect to orders-db:5432', attempt);
    showFlow(
      show,
      await waitForFlow(
        api,
        { from: 'desk', to: 'orders-db', port: 5432, sinceMs },
        (flow) => flow.verdict === 'allow',
      ),
    );
    const killedMs = stage.recall('killedMs');
    const meanwhile = await waitForFlow(
      api,
      { from: 'web', to: 'desk', port: 8080, sinceMs: killedMs },
      (flow) => flow.firstMs >= killedMs && flow.firstMs <= beganMs,
    );
    show({ kind: 'note', text: 'the connection from web to desk, made while nobody was there:' });
    showFlow(show, meanwhile);
    declareEnding(show, 'connected', attempt);
    declare(show, 'the flow of the time between is there', meanwhile !== null, 'it is missing');
  },
};
