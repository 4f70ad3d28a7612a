/** What is in force while questions are measured: one port that is allowed, and a range whose every connection is asked about. */

export const allowedPort = 7000;
export const askedPort = 7100;
export const askedPorts = 64;

export const labelsOf = { client: { app: 'orders', team: 'shop' }, server: { app: 'ledger', team: 'money' } } as const;

/** True, and not before the facts of both ends, the time and the rate were looked at; the time keeps it from being remembered. */
const condition =
  'time.hour >= 0 && source.labels.team == "shop" && destination.labels.app == "ledger" && "orders" in source.segments && flow.ratePerMinute < 1.0e9';

function segment(name: string): unknown {
  return {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Segment',
    metadata: { name },
    spec: { selector: { matchLabels: { app: name } } },
  };
}

export function documents(): readonly unknown[] {
  const ends = { from: { segment: 'orders' }, to: { segment: 'ledger' } };
  const policy = {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Policy',
    metadata: { name: 'orders-to-ledger' },
    spec: {
      tier: 'application',
      rules: [
        { name: 'open', action: 'allow', ...ends, ports: [{ protocol: 'tcp', port: allowedPort }] },
        {
          name: 'asked',
          action: 'ask',
          ...ends,
          when: condition,
          ports: [{ protocol: 'tcp', port: askedPort, endPort: askedPort + askedPorts - 1 }],
        },
      ],
    },
  };
  return [segment('orders'), segment('ledger'), policy];
}
