/** For tests of the planner: applies operations to plain state, and judges flows over it as the kernel programs do. */
import type { EndpointEntry, VerdictAction } from '@bulkhead/kernel';
import { reservedIdentity } from '@bulkhead/policy';
import { lookup, type ContentContext } from './contents.ts';
import { epochModulus, learntKey, type ActualKernel, type Operation, type Plan, type RulesetContent } from './model.ts';
import { peerOf } from './moves.ts';
import { PrefixTable } from './prefixes.ts';
import { verdictOf, type KernelTable } from './tables.ts';

export const emptyKernel: ActualKernel = {
  endpoints: new Map(),
  addresses: new Map(),
  cidrs: new Map(),
  learnt: new Map(),
  hostPorts: [],
  rulesets: new Map(),
  attached: new Set(),
};

/** Operations on many items as one for each, in their order: packets may see every step. */
export function single(operation: Operation): readonly Operation[] {
  switch (operation.kind) {
    case 'set-cidrs':
      return operation.entries.map((entry) => ({ kind: 'set-cidrs', entries: [entry] }));
    case 'remove-cidrs':
      return operation.cidrs.map((cidr) => ({ kind: 'remove-cidrs', cidrs: [cidr] }));
    case 'set-learnt':
      return operation.entries.map((entry) => ({ kind: 'set-learnt', entries: [entry] }));
    case 'remove-learnt':
      return operation.keys.map((key) => ({ kind: 'remove-learnt', keys: [key] }));
    case 'set-rows':
      return operation.rows.map((row) => ({ ...operation, rows: [row] }));
    case 'remove-rows':
      return operation.rows.map((row) => ({ ...operation, rows: [row] }));
    case 'judge-endpoints':
      return operation.slots.map((slot) => ({ kind: 'judge-endpoints', slots: [slot] }));
    case 'set-endpoint':
    case 'remove-endpoint':
    case 'attach':
    case 'set-address':
    case 'remove-address':
    case 'set-host-ports':
    case 'judge-again':
      return [operation];
  }
}

/** The state after one operation. */
export function applied(actual: ActualKernel, operation: Operation): ActualKernel {
  const next = {
    endpoints: new Map(actual.endpoints),
    addresses: new Map(actual.addresses),
    cidrs: new Map(actual.cidrs),
    learnt: new Map(actual.learnt),
    hostPorts: actual.hostPorts,
    rulesets: new Map(actual.rulesets),
    attached: new Set(actual.attached),
  };
  switch (operation.kind) {
    case 'set-endpoint':
      next.endpoints.set(operation.entry.slot, operation.entry);
      break;
    case 'remove-endpoint':
      next.endpoints.delete(operation.slot);
      break;
    case 'attach':
      next.attached.add(operation.ifindex);
      break;
    case 'set-host-ports':
      next.hostPorts = operation.entries;
      break;
    case 'set-address':
      next.addresses.set(operation.address, operation.entry);
      break;
    case 'remove-address':
      next.addresses.delete(operation.address);
      break;
    case 'set-cidrs':
      for (const { cidr, peer } of operation.entries) next.cidrs.set(cidr, peer);
      break;
    case 'remove-cidrs':
      for (const cidr of operation.cidrs) next.cidrs.delete(cidr);
      break;
    case 'set-learnt':
      for (const entry of operation.entries) next.learnt.set(learntKey(entry), entry);
      break;
    case 'remove-learnt':
      for (const key of operation.keys) next.learnt.delete(learntKey(key));
      break;
    case 'set-rows':
    case 'remove-rows': {
      const before = actual.rulesets.get(operation.ruleset);
      const rows = { egress: new Map(before?.egress), ingress: new Map(before?.ingress) };
      for (const row of operation.rows) {
        if (operation.kind === 'remove-rows') rows[row.direction].delete(row.peer);
        else rows[row.direction].set(row.peer, (row as { readonly table: KernelTable }).table);
      }
      if (rows.egress.size + rows.ingress.size === 0) next.rulesets.delete(operation.ruleset);
      else next.rulesets.set(operation.ruleset, { ...rows, basis: null });
      break;
    }
    case 'judge-endpoints':
      for (const slot of operation.slots) {
        const entry = actual.endpoints.get(slot)!;
        next.endpoints.set(slot, { ...entry, epoch: (entry.epoch + 1) % epochModulus });
      }
      break;
    case 'judge-again':
      break;
  }
  return next;
}

export function withBasis(actual: ActualKernel, plan: Plan): ActualKernel {
  const rulesets = new Map(actual.rulesets);
  for (const [ruleset, content] of plan.basis) rulesets.set(ruleset, { ...rulesets.get(ruleset)!, basis: content });
  return { ...actual, rulesets };
}

const rank = { deny: 0, reject: 0, ask: 1, allow: 2 } as const satisfies Record<VerdictAction, number>;

/** 0 denied, 1 asked, 2 allowed: every flow from endpoints to the given addresses, and from those outside to endpoints. */
export function judgements(
  context: ContentContext,
  actual: ActualKernel,
  inside: readonly string[],
  outside: readonly string[],
  ports: readonly number[],
): ReadonlyMap<string, number> {
  const result = new Map<string, number>();
  const prefixes = new PrefixTable(actual.cidrs);
  const identityOf = (slot: number): number => visible(actual.endpoints.get(slot));
  const side = (entry: EndpointEntry, direction: 'egress' | 'ingress', peer: number, port: number): number => {
    if (entry.state === 'observed') return 2;
    if (entry.state !== 'governed' || peer === reservedIdentity.unknown) return 0;
    const content = actual.rulesets.get(entry.ruleset);
    if (content === undefined) return 0;
    return rank[verdictOf(lookup(context, content as RulesetContent, direction, peer), 6, port).action];
  };
  const slotOf = new Map<string, number>();
  for (const [address, entry] of actual.addresses) if (entry.kind === 'endpoint') slotOf.set(address, entry.slot);
  for (const source of actual.endpoints.values()) {
    for (const address of new Set([...inside, ...outside])) {
      const destination = actual.endpoints.get(slotOf.get(address) ?? -1);
      if (destination?.slot === source.slot) continue;
      const peer = peerOf(address, actual.addresses.get(address), identityOf, prefixes);
      for (const port of ports) {
        const egress = side(source, 'egress', learntPeer(actual, source, address) ?? peer, port);
        const isGone = destination === undefined && actual.addresses.get(address)?.kind === 'endpoint';
        const ingress = isGone
          ? 0
          : destination === undefined
            ? 2
            : side(destination, 'ingress', identityOf(source.slot), port);
        result.set(`${source.slot} > ${address}:${port}`, Math.min(egress, ingress));
        if (!inside.includes(address))
          result.set(`${source.slot} < ${address}:${port}`, side(source, 'ingress', peer, port));
      }
    }
  }
  return result;
}

/** What the address is to whoever learnt it by name, as far as new connections go. */
function learntPeer({ addresses, learnt }: ActualKernel, source: EndpointEntry, address: string): number | undefined {
  if (source.learns !== true || addresses.has(address)) return undefined;
  const found = learnt.get(learntKey({ slot: source.slot, address }));
  return found?.lapsed === false ? found.peer : undefined;
}

function visible(entry: EndpointEntry | undefined): number {
  return entry?.identity ?? reservedIdentity.unknown;
}
