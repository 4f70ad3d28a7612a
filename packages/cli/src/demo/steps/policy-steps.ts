/** What rules alone settle: allowed, denied by default, denied by a rule that says so. */
import { connectFrom } from '../attempt.ts';
import { declareEnding, declareFlow, showAttempt, showFlow, type Step } from '../step.ts';
import { waitForFlow } from '../witness.ts';

export const allowed: Step = {
  title: 'Allowed by a rule',
  story: 'The web page may read from the trading desk: one rule says so, for both ends.',
  async run({ engine, api }, show) {
    const sinceMs = Date.now();
    const attempt = await connectFrom(engine, 'web', { host: 'desk', port: 8080 });
    showAttempt(show, 'in container web: connect to desk:8080', attempt);
    const flow = await waitForFlow(
      api,
      { from: 'web', to: 'desk', port: 8080, sinceMs },
      (each) => each.verdict === 'allow',
    );
    showFlow(show, flow);
    declareEnding(show, 'connected', attempt);
    declareFlow(show, flow, 'allow', 'application/floor/web-to-desk');
  },
};

export const deniedByDefault: Step = {
  title: 'Denied by default',
  story:
    'No rule lets the web page near the database, so it gets no answer at all: the posture of its segment is to deny.',
  async run({ engine, api }, show) {
    const sinceMs = Date.now();
    const attempt = await connectFrom(engine, 'web', { host: 'orders-db', port: 5432 });
    showAttempt(show, 'in container web: connect to orders-db:5432', attempt);
    const flow = await waitForFlow(api, { from: 'web', to: 'orders-db', port: 5432, sinceMs });
    showFlow(show, flow);
    declareEnding(show, 'timed-out', attempt);
    declareFlow(show, flow, 'deny', 'posture:web');
  },
};

export const rejected: Step = {
  title: 'Denied by a rule, with a reset',
  story: 'Buying and selling signals must never meet. The rule rejects aloud, so a mistaken program fails at once.',
  async run({ engine, api }, show) {
    const sinceMs = Date.now();
    const attempt = await connectFrom(engine, 'buy-signals', { host: 'sell-signals', port: 8080 });
    showAttempt(show, 'in container buy-signals: connect to sell-signals:8080', attempt);
    const flow = await waitForFlow(api, { from: 'buy-signals', to: 'sell-signals', port: 8080, sinceMs });
    showFlow(show, flow);
    declareEnding(show, 'refused', attempt);
    declareFlow(show, flow, 'reject', 'security/signals-apart/buy-to-sell');
  },
};
