/**
 * What an author whose scope is a list of segments may write: policies that speak only for workloads of those segments. Segments and
 * tiers are for authors without a scope, since a selector or a position reaches beyond any segment.
 */
import { rulePeers } from '@bulkhead/policy';
import type { Document, InvariantDocument, PeerDocument, PolicySet, Problem } from '@bulkhead/policy';

/** A scoped author's policies come no earlier than this tier, so that those of platform and security stay above them. */
const earliestTier = 'application';

interface Change {
  readonly kind: string;
  readonly name: string;
  readonly before: Document | null;
  readonly after: Document | null;
}

/** Empty when all of it is within the scope. Both what was and what will be must be. */
export function scopeProblems(
  scope: readonly string[] | null,
  changes: readonly Change[],
  set: PolicySet,
): readonly Problem[] {
  if (scope === null) return [];
  const allowed = new Set(scope);
  return changes.flatMap((change) => {
    const document = `${change.kind}/${change.name}`;
    if (change.kind !== 'Policy') {
      return [{ path: 'kind', reason: 'your scope lets you change policies only', allowed: 'Policy', document }];
    }
    return [change.before, change.after].flatMap((version) =>
      version === null ? [] : documentProblems(version, allowed, set),
    );
  });
}

function documentProblems(document: Document, scope: ReadonlySet<string>, set: PolicySet): readonly Problem[] {
  if (document.kind !== 'Policy') return [];
  const name = `Policy/${document.metadata.name}`;
  const problems: Problem[] = [];
  const earliest = set.tiers.find((tier) => tier.name === earliestTier)?.position ?? 0;
  const tier = set.tiers.find((other) => other.name === (document.spec.tier ?? earliestTier));
  if (tier !== undefined && tier.position < earliest) {
    problems.push({
      path: 'spec.tier',
      reason: `tier ${tier.name} comes before ${earliestTier}`,
      allowed: earliestTier,
      document: name,
    });
  }
  document.spec.rules.forEach((rule, index) => {
    const ends = [
      { field: 'from', peers: rulePeers(rule.from), speaks: rule.applies !== 'ingress' },
      { field: 'to', peers: rulePeers(rule.to), speaks: rule.applies !== 'egress' },
    ];
    for (const { field, peers, speaks } of ends) {
      if (!speaks || endIsWithin(peers, scope)) continue;
      problems.push({
        path: `spec.rules[${index}].${field}`,
        reason: `the rule speaks for workloads outside your scope; name segments of it, or narrow the rule with applies`,
        allowed: [...scope].map((segment) => `segment: ${segment}`).join(', '),
        document: name,
      });
    }
  });
  return problems;
}

/** A rule governs the workloads of an end, and hosts that are in a segment; networks are governed by nobody. */
function endIsWithin(peers: readonly PeerDocument[], scope: ReadonlySet<string>): boolean {
  if (peers.length === 0) return false;
  return peers.every(
    (peer) =>
      peer.cidr !== undefined || peer.dns !== undefined || (peer.segment !== undefined && scope.has(peer.segment)),
  );
}

/** Whether a reader with this scope may see the document. */
export function documentVisible(scope: readonly string[] | null, document: Document): boolean {
  if (scope === null) return true;
  switch (document.kind) {
    case 'Tier':
      return true;
    case 'Segment':
      return scope.includes(document.metadata.name);
    case 'Policy':
      return document.spec.rules.some((rule) =>
        [rule.from, rule.to].some((end) => {
          const peers = rulePeers(end);
          return (
            peers.length === 0 ||
            peers.some(
              (peer) =>
                peer.any === true ||
                peer.selector !== undefined ||
                (peer.segment !== undefined && scope.includes(peer.segment)),
            )
          );
        }),
      );
    case 'Invariant':
      return invariantPeers(document).every((peer) => peer.segment === undefined || scope.includes(peer.segment));
    case 'Wall':
      // Datasets are anybody's, and a wall concerns whoever is on the way between two of them.
      return false;
    case 'Namespace':
    case 'NetworkPolicy':
    case 'ClusterNetworkPolicy':
    case 'AdminNetworkPolicy':
    case 'BaselineAdminNetworkPolicy':
      // Namespaces and the documents of Kubernetes select by labels: they may concern workloads of any segment.
      return true;
  }
}

function invariantPeers({ spec }: InvariantDocument): readonly PeerDocument[] {
  return [spec.never, spec.always, spec.neverReaches].flatMap((claim) =>
    claim === undefined ? [] : [...rulePeers(claim.from), ...rulePeers(claim.to)],
  );
}
