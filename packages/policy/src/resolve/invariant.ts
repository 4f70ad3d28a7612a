import { type ClaimKind, claimOf } from '../documents/claim.ts';
import type { InvariantDocument } from '../documents/document.ts';
import { type Peers, resolvePeers } from './peers.ts';
import { resolvePorts, type RulePorts } from './ports.ts';

/**
 * What must hold whatever else documents say. `never`: no connection from one end to the other is permitted, nor asked about;
 * `always`: every one is permitted without a question; `neverReaches`: `never`, over any path of permitted connections.
 */
export interface Invariant extends RulePorts {
  readonly name: string;
  readonly claim: ClaimKind;
  readonly from: Peers;
  readonly to: Peers;
}

const resolvedInvariants = new WeakMap<InvariantDocument, Invariant>();

export function invariantOf(document: InvariantDocument): Invariant {
  let invariant = resolvedInvariants.get(document);
  if (invariant === undefined) {
    const [claim, { from, to, ports }] = claimOf(document);
    const ends = { from: resolvePeers(from), to: resolvePeers(to) };
    invariant = { name: document.metadata.name, claim, ...ends, ...resolvePorts(ports) };
    resolvedInvariants.set(document, invariant);
  }
  return invariant;
}
