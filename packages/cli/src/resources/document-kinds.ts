/** Kinds of documents as people spell them: plural first, then shorter forms. */
export interface DocumentNames {
  readonly kind: string;
  readonly names: readonly [string, ...string[]];
  /** Documents of Kubernetes are kept by namespace: `NAMESPACE/NAME`. */
  readonly namespaced?: boolean;
}

export const documentNames: readonly DocumentNames[] = [
  { kind: 'Segment', names: ['segments', 'segment', 'seg'] },
  { kind: 'Policy', names: ['policies', 'policy', 'pol'] },
  { kind: 'Tier', names: ['tiers', 'tier'] },
  { kind: 'Namespace', names: ['namespaces', 'namespace', 'ns'] },
  { kind: 'Invariant', names: ['invariants', 'invariant', 'inv'] },
  { kind: 'Wall', names: ['walls', 'wall'] },
  { kind: 'NetworkPolicy', names: ['networkpolicies', 'networkpolicy', 'netpol'], namespaced: true },
  { kind: 'ClusterNetworkPolicy', names: ['clusternetworkpolicies', 'clusternetworkpolicy', 'cnp'] },
  { kind: 'AdminNetworkPolicy', names: ['adminnetworkpolicies', 'adminnetworkpolicy', 'anp'] },
  {
    kind: 'BaselineAdminNetworkPolicy',
    names: ['baselineadminnetworkpolicies', 'baselineadminnetworkpolicy', 'banp'],
  },
];

/** The kind that a word means, whatever its case; null where it means none. */
export function documentKind(word: string): string | null {
  const wanted = word.toLowerCase();
  return documentNames.find(({ names }) => names.includes(wanted))?.kind ?? null;
}

/** The name under which a document is kept: with its namespace where its kind has one, `default` where none was said. */
export function storedName(kind: string, name: string, namespace: string | undefined): string {
  const namespaced = documentNames.find((each) => each.kind === kind)?.namespaced === true;
  if (!namespaced || name.includes('/')) return name;
  return `${namespace ?? 'default'}/${name}`;
}
