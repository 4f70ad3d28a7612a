/**
 * Addresses that analyses look at because documents name them by DNS. Which addresses a name leads to only those who ask know; to policy
 * all that matters is under which names an address was learnt, so each pattern is stood for by one address that was learnt under it.
 */
import { rulesInOrder } from '@bulkhead/policy';
import type { KnownAddress, Peer, PolicySet, Universe } from '@bulkhead/policy';

/** IANA's dummy address, which nothing has: no network of a document is meant by it. */
export const namedAddress = '192.0.0.8';
/** What stands for the wildcard of a pattern: a label that hardly anybody gives a machine. */
const anyLabel = 'any-name';
/** Patterns that are looked at. */
const patternsMax = 1_000;

export function withNamedAddresses(universe: Universe, sets: readonly PolicySet[]): Universe {
  const names = new Set<string>();
  for (const set of sets) {
    for (const { pattern } of dnsPeers(set)) {
      if (names.size >= patternsMax) break;
      names.add(pattern.replace(/^\*/, anyLabel));
    }
  }
  const addresses = [...names].map((name): KnownAddress => ({ address: namedAddress, names: [name] }));
  return addresses.length === 0 ? universe : { ...universe, addresses: [...universe.addresses, ...addresses] };
}

function* dnsPeers(set: PolicySet): Generator<Extract<Peer, { kind: 'dns' }>> {
  for (const [, rules] of rulesInOrder(set)) {
    for (const { to } of rules) for (const peer of to.list) if (peer.kind === 'dns') yield peer;
  }
  for (const { to } of set.invariants.values()) for (const peer of to.list) if (peer.kind === 'dns') yield peer;
}
