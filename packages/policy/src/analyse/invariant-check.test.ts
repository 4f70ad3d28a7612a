import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decide, decideSide, peersMatch } from '../decide/decide.ts';
import type { Document } from '../documents/document.ts';
import { parseDocument } from '../documents/parse.ts';
import type { Labels } from '../model.ts';
import type { Invariant } from '../resolve/invariant.ts';
import { createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import { generateDocuments, generateService, pick, type Random, seededRandom } from '../testing/generate.ts';
import { checkInvariants } from './invariant-check.ts';
import type { Statement } from './invariant.ts';
import { argumentText } from './invariant-text.ts';
import { PartySetReader } from './party-set-reader.ts';
import { portSetHas } from './port-set.ts';
import { generateUniverse } from './testing/generate-universe.ts';
import { classesMax, type Universe } from './universe.ts';

const apiVersion = 'bulkhead.dev/v1';

function policySetOf(values: readonly unknown[]): PolicySet {
  const documents = values.map((value): Document => {
    const parsed = parseDocument(value, {});
    return parsed.kind === 'refused' ? assert.fail(JSON.stringify(parsed.problems)) : parsed.document;
  });
  const result = createPolicySet(documents, { checkCondition: () => null });
  return result.kind === 'refused' ? assert.fail(JSON.stringify(result.problems)) : result.policySet;
}

function generateInvariant(random: Random, name: string, segments: readonly string[]): object {
  const end = (): object => {
    if (segments.length > 0 && random(3) > 0) return { segment: pick(random, segments) };
    return pick(random, [
      { selector: { matchLabels: { app: 'a' } } },
      { selector: { matchLabels: { env: 'b' } } },
      { cidr: '10.0.0.0/8' },
      { host: true },
    ]);
  };
  const ports = pick(random, [[{ protocol: 'tcp', port: 80, endPort: 8080 }], [{ protocol: 'udp', port: 53 }], null]);
  const claim = pick(random, ['never', 'always', 'neverReaches']);
  const spec = { [claim]: { from: end(), to: end(), ...(ports === null ? {} : { ports }) } };
  return { apiVersion, kind: 'Invariant', metadata: { name }, spec };
}

const universeOf = (labels: readonly Labels[]): Universe => ({
  workloads: labels.map((own, index) => ({ labels: own, count: 1, examples: [`w${index}`] })),
  hosts: [],
  addresses: [],
});

function inPorts({ ports }: Invariant, { protocol, port }: { protocol: number; port: number }): boolean {
  return ports === null || ports.some((span) => span.protocol === protocol && span.from <= port && port <= span.to);
}

function provenBy(reader: PartySetReader, argument: readonly Statement[], flow: Parameters<typeof decide>[1]): boolean {
  return argument.some(
    (statement) =>
      statement.kind !== 'reachable' &&
      portSetHas(statement.ports, flow.protocol, flow.port) &&
      reader.has(statement.from, flow.source) &&
      reader.has(statement.to, flow.destination),
  );
}

test('what holds has an argument that decide confirms line by line, and what is broken a witness that it confirms', () => {
  const seen = { holds: 0, broken: 0, lines: 0 };
  fc.assert(
    fc.property(fc.integer(), fc.nat(5), fc.nat(8), (seed, segments, policies) => {
      const random = seededRandom(seed);
      const documents = generateDocuments(random, { segments, policies, kubernetes: random(5), hosts: true });
      const names = Array.from({ length: segments }, (_, index) => `s${index}`);
      const invariants = Array.from({ length: 4 }, (_, index) => generateInvariant(random, `i${index}`, names));
      const set = policySetOf([...documents, ...invariants]);
      const { universe, parties } = generateUniverse(random);
      const reader = new PartySetReader([set]);
      const { results } = checkInvariants(set, universe);
      assert.equal(results.length, 4);
      for (const { name, invariant: claim, outcome } of results) {
        const invariant = set.invariants.get(name)!;
        if (outcome.kind === 'not-checked') assert.fail(outcome.why);
        if (outcome.kind === 'broken') {
          seen.broken++;
          for (const [index, hop] of outcome.witness.entries()) {
            const flow = { source: hop.from.party, destination: hop.to.party, protocol: hop.protocol, port: hop.port };
            const verdict = decide(set, flow);
            assert.deepEqual(
              [verdict.action, reasonText(verdict.egress.reason), reasonText(verdict.ingress.reason)],
              [hop.verdict, hop.egressReason, hop.ingressReason],
            );
            assert.ok(claim === 'always' ? hop.verdict !== 'allow' : hop.verdict === 'allow' || hop.verdict === 'ask');
            if (index > 0) assert.deepEqual(hop.from.party, outcome.witness[index - 1]!.to.party);
          }
          const [first, last] = [outcome.witness[0]!, outcome.witness.at(-1)!];
          assert.ok(peersMatch(set, invariant.from, first.from.party) && peersMatch(set, invariant.to, last.to.party));
          assert.ok(inPorts(invariant, last));
          if (claim !== 'neverReaches') assert.equal(outcome.witness.length, 1);
          continue;
        }
        seen.holds++;
        assert.equal(outcome.omitted, 0);
        for (const source of parties) {
          for (const destination of parties) {
            for (let count = 0; count < 4; count++) {
              const flow = { source, destination, ...generateService(random) };
              for (const statement of outcome.argument) {
                if (statement.kind === 'reachable' || !provenBy(reader, [statement], flow)) continue;
                seen.lines++;
                if (statement.kind === 'allowed') {
                  const { action, egress, ingress } = decide(set, flow);
                  const reasons = [reasonText(egress.reason), reasonText(ingress.reason)];
                  assert.deepEqual([action, ...reasons], ['allow', statement.egressReason, statement.ingressReason]);
                } else {
                  const side = decideSide(set, statement.side, flow);
                  assert.ok(side.action === 'deny' || side.action === 'reject');
                  assert.equal(reasonText(side.reason), statement.reason);
                }
              }
              const claimed = peersMatch(set, invariant.from, source) && peersMatch(set, invariant.to, destination);
              if (!claimed || !inPorts(invariant, flow)) continue;
              assert.ok(
                provenBy(reader, outcome.argument, flow),
                `nothing in the argument is about ${JSON.stringify(flow)}`,
              );
              const { action } = decide(set, flow);
              assert.ok(claim === 'always' ? action === 'allow' : action === 'deny' || action === 'reject');
            }
          }
        }
      }
    }),
    { numRuns: 150 },
  );
  assert.ok(seen.holds > 100 && seen.broken > 100 && seen.lines > 1_000, JSON.stringify(seen));
});

const segment = (name: string): object => ({
  apiVersion,
  kind: 'Segment',
  metadata: { name },
  spec: { selector: { matchLabels: { app: name } } },
});
const invariant = (name: string, spec: object): object => ({ apiVersion, kind: 'Invariant', metadata: { name }, spec });
const tcp = (port: number): object => ({ ports: [{ protocol: 'tcp', port }] });
const allow = (name: string, from: string, to: string, port: number, action = 'allow'): object => ({
  name,
  action,
  from: { segment: from },
  to: { segment: to },
  ...tcp(port),
});

const shop = policySetOf([
  ...['web', 'api', 'db', 'backup', 'dev'].map(segment),
  {
    apiVersion,
    kind: 'Policy',
    metadata: { name: 'shop' },
    spec: {
      rules: [
        allow('web-api', 'web', 'api', 8080),
        allow('api-db', 'api', 'db', 5432),
        allow('web-backup', 'web', 'backup', 22, 'ask'),
        allow('backup-db', 'backup', 'db', 5432),
      ],
    },
  },
  invariant('a-direct', { never: { from: { segment: 'web' }, to: { segment: 'db' } } }),
  invariant('b-path', { neverReaches: { from: { segment: 'web' }, to: { segment: 'db' } } }),
  invariant('c-dev', { neverReaches: { from: { segment: 'dev' }, to: { segment: 'db' } } }),
  invariant('d-back', { neverReaches: { from: { segment: 'db' }, to: { segment: 'web' }, ...tcp(443) } }),
  invariant('e-works', { always: { from: { segment: 'api' }, to: { segment: 'db' }, ...tcp(5432) } }),
]);
const shopUniverse: Universe = {
  ...universeOf(['web', 'api', 'db', 'backup'].map((app) => ({ app }))),
  hosts: [],
};

test('the argument names who and why; the witness is a shortest path with as few questions as can be', () => {
  assert.deepEqual(
    checkInvariants(shop, shopUniverse).results.map((result) => argumentText(result).split('\n')),
    [
      [
        'a-direct (never): holds',
        '  from: web (1 workload); to: db (1 workload)',
        '  1. Every connection web -> db, everything is denied by posture:web at egress, because no rule of any tier speaks about it.',
      ],
      [
        'b-path (neverReaches): broken',
        '  w0 -> w1, tcp 8080: allow (egress: application/shop/web-api, ingress: application/shop/web-api)',
        '  w1 -> w2, tcp 5432: allow (egress: application/shop/api-db, ingress: application/shop/api-db)',
      ],
      [
        'c-dev (neverReaches): holds',
        '  from: nobody now, so it was looked at for a workload with app=dev; to: db (1 workload)',
        '  1. Paths lead at most to dev (no such workload now); no connection leaves them:',
        '  2. Every connection dev (no such workload now) -> api | backup | db | web, everything is denied by posture:dev at egress, because no rule of any tier speaks about it.',
      ],
      [
        'd-back (neverReaches): holds',
        '  from: db (1 workload); to: web (1 workload)',
        '  1. Paths lead at most to db; no connection leaves them:',
        '  2. Every connection db -> api | backup | web, everything is denied by posture:db at egress, because no rule of any tier speaks about it.',
      ],
      [
        'e-works (always): holds',
        '  from: api (1 workload); to: db (1 workload)',
        '  1. Every connection api -> db, tcp 5432 is allowed by application/shop/api-db at egress and application/shop/api-db at ingress.',
      ],
    ],
  );
});

type Edge = readonly [from: number, to: number, action: 'allow' | 'ask'];

/** Connections and questions of the best path, compared in this order; null where there is none. */
function bestPath(size: number, edges: readonly Edge[], from: number, to: number): readonly [number, number] | null {
  const cost = (hops: number, questions: number): number => hops * 100 + questions;
  const best = Array.from({ length: size }, (_, node) => (node === from ? 0 : Number.POSITIVE_INFINITY));
  for (let round = 0; round < size; round++) {
    for (const [source, destination, action] of edges) {
      if (destination === to) continue;
      best[destination] = Math.min(best[destination]!, best[source]! + cost(1, action === 'ask' ? 1 : 0));
    }
  }
  const last = edges
    .filter(([, destination]) => destination === to)
    .map(([source, , action]) => best[source]! + cost(1, action === 'ask' ? 1 : 0));
  const least = Math.min(Number.POSITIVE_INFINITY, ...last);
  return Number.isFinite(least) ? [Math.floor(least / 100), least % 100] : null;
}

test('a path is found where there is one, as short as can be', () => {
  const size = 6;
  const names = Array.from({ length: size }, (_, index) => `n${index}`);
  const edge = fc.tuple(fc.nat(size - 1), fc.nat(size - 1), fc.constantFrom('allow' as const, 'ask' as const));
  const edges = fc.uniqueArray(edge, { maxLength: 12, selector: ([from, to]) => `${from} ${to}` });
  fc.assert(
    fc.property(edges, (list) => {
      const rules = list.map(([from, to, action]) => allow(`e-${from}-${to}`, names[from]!, names[to]!, 80, action));
      const set = policySetOf([
        ...names.map(segment),
        { apiVersion, kind: 'Policy', metadata: { name: 'p' }, spec: { rules } },
        invariant('i', { neverReaches: { from: { segment: 'n0' }, to: { segment: 'n1' } } }),
      ]);
      const [result] = checkInvariants(set, universeOf(names.map((app) => ({ app })))).results;
      const outcome = result!.outcome;
      const expected = bestPath(size, list, 0, 1);
      if (outcome.kind !== 'broken') return assert.equal(expected, null);
      const questions = outcome.witness.filter(({ verdict }) => verdict === 'ask').length;
      return assert.deepEqual([outcome.witness.length, questions], expected);
    }),
    { numRuns: 200 },
  );
});

test('how many parties policies speak of does not matter where nobody of them is at an end', () => {
  const selectors = Array.from({ length: classesMax + 10 }, (_, number) => ({
    selector: { matchLabels: { app: `a${number}` } },
  }));
  const policy = {
    metadata: { name: 'p' },
    spec: { rules: [{ name: 'r', action: 'allow', from: selectors, to: { any: true } }] },
  };
  const never = (name: string, from: object) => ({
    ...{ apiVersion, kind: 'Invariant', metadata: { name } },
    spec: { never: { from, to: { selector: { matchLabels: { env: 'db' } } } } },
  });
  const set = policySetOf([
    { apiVersion, kind: 'Policy', ...policy },
    never('broken', { selector: { matchLabels: { app: 'a7' } } }),
    never('holds', { selector: { matchLabels: { app: 'other' } } }),
  ]);
  const report = checkInvariants(set, universeOf([{ app: 'a1' }]));
  assert.ok(report.universe.classes > classesMax);
  assert.deepEqual(
    report.results.map(({ name, outcome }) => [name, outcome.kind]),
    [
      ['broken', 'broken'],
      ['holds', 'holds'],
    ],
  );
});
