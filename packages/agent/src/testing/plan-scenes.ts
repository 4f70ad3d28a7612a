/** For tests of the planner: desired states drawn at random, such that most differ from the one before in little, as in life. */
import type { AddressEntry, KernelPortTable, LearntEntry, VerdictAction } from '@bulkhead/kernel';
import fc from 'fast-check';
import type { ContentContext } from '../plan/contents.ts';
import { learntKey, type DesiredKernel, type EndpointTarget, type RulesetContent } from '../plan/model.ts';
import { TableStore } from '../plan/tables.ts';

export const ports = [80, 443, 5432];
export const identities = [256, 257, 258, 259];
export const networks = ['10.8.0.0/16', '10.8.1.0/24', '10.8.1.128/25', '0.0.0.0/0'];
export const inside = ['10.1.0.1', '10.1.0.2', '10.1.0.3', '10.1.0.4'];
export const outside = ['10.8.1.200', '10.8.1.2', '10.8.9.9', '192.0.2.7', '10.9.0.1', '10.9.0.2'];
export const learntPeers = [2 ** 24 + 5, 2 ** 24 + 6];
const peers = [0, 1, 2, ...identities, 2 ** 24, 2 ** 24 + 1, ...learntPeers];

const verdict = fc.record({
  action: fc.constantFrom<VerdictAction>('allow', 'allow', 'allow', 'deny', 'deny', 'reject', 'ask'),
  rule: fc.integer({ min: 1, max: 2 }),
});
const plain: fc.Arbitrary<KernelPortTable> = verdict.map((otherwise) => ({ ranges: [], otherwise }));
const ranged: fc.Arbitrary<KernelPortTable> = fc.record({
  ranges: fc
    .uniqueArray(fc.tuple(fc.constantFrom(...ports), verdict), { maxLength: 2, selector: ([port]) => port })
    .map((chosen) =>
      chosen.sort(([a], [b]) => a - b).map(([port, each]) => ({ protocol: 6, from: port, to: port, verdict: each })),
    ),
  otherwise: verdict,
});
const table = fc.oneof({ weight: 3, arbitrary: plain }, { weight: 1, arbitrary: ranged });

export interface Scene {
  readonly rules: readonly (readonly (readonly [number, KernelPortTable])[])[];
  readonly states: readonly {
    readonly identity: number;
    readonly state: 'governed' | 'held' | 'absent' | 'observed' | 'fenced';
  }[];
  readonly remote: readonly (readonly [string, number])[];
  readonly cidrs: readonly (readonly [string, number])[];
  readonly learnt: readonly LearntEntry[];
}

export const scene: fc.Arbitrary<Scene> = fc.record({
  // Per identity egress and ingress: rows by peer; the first is everybody else's.
  rules: fc.array(
    fc
      .tuple(
        table,
        fc.uniqueArray(fc.tuple(fc.constantFrom(...peers.slice(1)), table), {
          maxLength: 4,
          selector: ([peer]) => peer,
        }),
      )
      .map(([others, rows]) => [[0, others] as const, ...rows]),
    { minLength: identities.length * 2, maxLength: identities.length * 2 },
  ),
  states: fc.array(
    fc.record({
      identity: fc.constantFrom(...identities),
      state: fc.constantFrom('governed', 'governed', 'governed', 'governed', 'held', 'absent', 'observed', 'fenced'),
    }),
    { minLength: 4, maxLength: 4 },
  ),
  remote: fc.uniqueArray(
    fc.tuple(fc.constantFrom('10.9.0.1', '10.9.0.2', '10.8.1.2'), fc.constantFrom(...identities)),
    {
      maxLength: 3,
      selector: ([address]) => address,
    },
  ),
  cidrs: fc.uniqueArray(fc.tuple(fc.constantFrom(...networks), fc.constantFrom(2 ** 24, 2 ** 24 + 1)), {
    maxLength: 4,
    selector: ([cidr]) => cidr,
  }),
  learnt: fc.uniqueArray(
    fc.record(
      {
        slot: fc.integer({ min: 1, max: 4 }),
        address: fc.constantFrom(...outside.slice(0, 4)),
        peer: fc.constantFrom(...learntPeers),
        lapsed: fc.constantFrom(false, false, true),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 4, selector: learntKey },
  ),
});

/** Most scenes of a run differ from the one before in one or two ways, as in life. */
const part = fc.constantFrom<keyof Scene>('rules', 'states', 'remote', 'cidrs', 'learnt', 'learnt');
export const scenes = fc.array(
  fc.tuple(
    scene,
    fc.oneof(
      fc.uniqueArray(part, { minLength: 1, maxLength: 2 }),
      fc.constant(['rules', 'states', 'remote', 'cidrs', 'learnt'] as const),
    ),
  ),
  {
    minLength: 3,
    maxLength: 6,
  },
);

export function environment(): {
  readonly store: TableStore;
  readonly context: ContentContext;
  readonly closed: RulesetContent;
  readonly everything: RulesetContent;
} {
  const store = new TableStore();
  const denial = store.intern({ ranges: [], otherwise: { action: 'deny', rule: 1 } });
  const allowance = store.intern({ ranges: [], otherwise: { action: 'allow', rule: 1 } });
  const same = (one: typeof denial): RulesetContent => ({ egress: new Map([[0, one]]), ingress: new Map([[0, one]]) });
  return { store, context: { store, denial }, closed: same(denial), everything: same(allowance) };
}

export function desiredOf(store: TableStore, closed: RulesetContent, scene: Scene): DesiredKernel {
  const { rules, states, remote, cidrs } = scene;
  const rowsOf = (index: number): ReadonlyMap<number, ReturnType<TableStore['intern']>> =>
    new Map(rules[index]!.map(([peer, content]) => [peer, store.intern(content)]));
  const contents = identities.map((_, index) => ({ egress: rowsOf(index * 2), ingress: rowsOf(index * 2 + 1) }));
  const endpoints = new Map<number, EndpointTarget>();
  const addresses = new Map<string, AddressEntry>(
    remote.map(([address, identity]) => [address, { kind: 'remote', identity, host: 'h' }]),
  );
  states.forEach(({ identity, state }, index) => {
    if (state === 'absent') return;
    const slot = index + 1;
    const ipv4 = `10.1.0.${slot}`;
    const isOpen = state === 'governed' || state === 'observed';
    const statics = {
      slot,
      ifindex: 100 + slot,
      kind: 'veth',
      generation: 1,
      mac: `02:00:00:00:00:0${slot}`,
      gatewayMac: '02:00:00:00:00:ff',
      ipv4,
      ipv6: null,
      mtu: 1450,
      connectionsMax: 100,
      ...(scene.learnt.some((entry) => entry.slot === slot) ? { learns: true } : {}),
    } as const;
    endpoints.set(slot, {
      statics,
      state,
      firstEpoch: 7,
      identity: isOpen ? identity : 3,
      content: isOpen ? contents[identities.indexOf(identity)]! : null,
    });
    addresses.set(ipv4, { kind: 'endpoint', slot });
  });
  const learnt = new Map(
    scene.learnt
      .filter(({ slot, address }) => endpoints.has(slot) && !addresses.has(address))
      .map((entry) => [learntKey(entry), entry]),
  );
  return { endpoints, addresses, cidrs: new Map(cidrs), learnt, hostPorts: [], closed };
}
