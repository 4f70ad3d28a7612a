import type { Direction } from '../model.ts';
import { reasonText } from '../resolve/reason.ts';
import type { Statement } from './invariant.ts';
import type { PartyRelations } from './party-relations.ts';
import { isNoPort, type PortSet, portSetShared, portSetWithout, portsWhere } from './port-set.ts';
import { Relation } from './rectangles.ts';

/** A pair of classes and the ports about which something is to be shown. */
export interface Claimed {
  readonly from: number;
  readonly to: number;
  readonly ports: PortSet;
}

/** Pairs with the same functions and ports: what is shown for one is shown for all. */
interface Case {
  readonly pairs: Claimed[];
  readonly ports: PortSet;
  readonly grounds: ReadonlyMap<string, Ground>;
}

/** Something that settles the verdict on some ports of a case. */
interface Ground {
  readonly ports: PortSet;
  readonly statement: (parts: Pick<Extract<Statement, { from: unknown }>, 'from' | 'to' | 'ports'>) => Statement;
}

const sides: readonly Direction[] = ['egress', 'ingress'];

/**
 * Statements that each claimed connection is denied. A connection that both sides deny needs one of them, so the side and reason that
 * settle most pairs come first and the others say only what is left: a greedy cover, with few statements.
 */
export function denialStatements(relations: PartyRelations, claimed: Iterable<Claimed>): readonly Statement[] {
  return statements(relations, claimed, (pieces) => {
    const grounds = new Map<string, Ground>();
    for (const [index, side] of sides.entries()) {
      for (const reason of reasonsIn(pieces, index)) {
        const ports = portsWhere(pieces, (verdicts) => {
          const { action, reason: own } = verdicts[index]!;
          return (action === 'deny' || action === 'reject') && reasonText(own) === reason;
        });
        grounds.set(`${side} ${reason}`, { ports, statement: (parts) => ({ kind: 'denied', ...parts, side, reason }) });
      }
    }
    return grounds;
  });
}

/** Statements that each claimed connection is allowed, by what on either side. */
export function permissionStatements(relations: PartyRelations, claimed: Iterable<Claimed>): readonly Statement[] {
  return statements(relations, claimed, (pieces) => {
    const grounds = new Map<string, Ground>();
    for (const egressReason of reasonsIn(pieces, 0)) {
      for (const ingressReason of reasonsIn(pieces, 1)) {
        const ports = portsWhere(pieces, ([egress, ingress]) => {
          if (egress!.action !== 'allow' || ingress!.action !== 'allow') return false;
          return reasonText(egress!.reason) === egressReason && reasonText(ingress!.reason) === ingressReason;
        });
        const statement: Ground['statement'] = (parts) => ({ kind: 'allowed', ...parts, egressReason, ingressReason });
        grounds.set(`${egressReason} ${ingressReason}`, { ports, statement });
      }
    }
    return grounds;
  });
}

type Pieces = ReturnType<PartyRelations['facts']>['pieces'];

function reasonsIn({ pieces, rest }: Pieces, side: number): Set<string> {
  return new Set(
    [...pieces.map(({ verdicts }) => verdicts[side]!), rest[side]!].map(({ reason }) => reasonText(reason)),
  );
}

function statements(
  relations: PartyRelations,
  claimed: Iterable<Claimed>,
  groundsOf: (pieces: Pieces) => ReadonlyMap<string, Ground>,
): readonly Statement[] {
  const cases = casesOf(relations, claimed, groundsOf);
  const weights = new Map<string, number>();
  for (const { pairs, ports, grounds } of cases) {
    for (const [key, ground] of grounds) {
      const settlesAll = isNoPort(portSetWithout(ports, ground.ports));
      if (settlesAll) weights.set(key, (weights.get(key) ?? 0) + pairs.length);
    }
  }
  const shown = new Map<string, { readonly ground: Ground; readonly ports: PortSet; readonly relation: Relation }>();
  for (const { pairs, ports, grounds } of cases) {
    let open = ports;
    const inOrder = [...grounds].sort(([a], [b]) => (weights.get(b) ?? 0) - (weights.get(a) ?? 0) || (a < b ? -1 : 1));
    for (const [key, ground] of inOrder) {
      const settled = portSetShared(open, ground.ports);
      if (isNoPort(settled)) continue;
      open = portSetWithout(open, settled);
      const id = `${key} ${JSON.stringify(settled)}`;
      let line = shown.get(id);
      if (line === undefined) {
        line = { ground, ports: settled, relation: new Relation(relations.classes.length) };
        shown.set(id, line);
      }
      for (const { from, to } of pairs) line.relation.add(from, to);
    }
    if (!isNoPort(open)) throw new Error('an argument was asked for what does not hold');
  }
  return [...shown.values()].flatMap(({ ground, ports, relation }) =>
    relation
      .rectangles()
      .map(({ from, to }) =>
        ground.statement({ from: relations.describer.describe(from), to: relations.describer.describe(to), ports }),
      ),
  );
}

function casesOf(
  relations: PartyRelations,
  claimed: Iterable<Claimed>,
  groundsOf: (pieces: Pieces) => ReadonlyMap<string, Ground>,
): Iterable<Case> {
  const cases = new Map<string, Case>();
  for (const claim of claimed) {
    if (isNoPort(claim.ports)) continue;
    const pair = relations.pair(claim.from, claim.to);
    const key = `${pair.number} ${JSON.stringify(claim.ports)}`;
    const known = cases.get(key);
    if (known !== undefined) known.pairs.push(claim);
    else cases.set(key, { pairs: [claim], ports: claim.ports, grounds: groundsOf(relations.facts(pair).pieces) });
  }
  return [...cases.values()];
}
