/** Documents as people write them, made into what tests ask about. Throws where one is refused: such a test is wrong. */
import type { Document } from '../documents/document.ts';
import { documentLabelKeys } from '../documents/label-keys.ts';
import { parseDocument } from '../documents/parse.ts';
import { type Flow, type Labels, namedPortPrefix, namespaceLabel, type Party, protocolNumber } from '../model.ts';
import { createPolicySet, type PolicySet } from '../resolve/policy-set.ts';
import { addressFacts } from '../select/address-facts.ts';

export function documentOf(value: unknown): Document {
  const parsed = parseDocument(value, {});
  if (parsed.kind === 'refused') throw new Error(`refused: ${JSON.stringify(parsed.problems)}`);
  return parsed.document;
}

export function policySetOf(values: readonly unknown[]): PolicySet {
  const result = createPolicySet(values.map(documentOf), { checkCondition: () => null });
  if (result.kind === 'refused') throw new Error(`refused: ${JSON.stringify(result.problems)}`);
  return result.policySet;
}

const native = 'bulkhead.dev/v1';

export function segment(name: string, spec: object): object {
  return { apiVersion: native, kind: 'Segment', metadata: { name }, spec };
}

export function policy(name: string, rules: readonly object[], spec: object = {}): object {
  return { apiVersion: native, kind: 'Policy', metadata: { name }, spec: { ...spec, rules } };
}

export function tier(name: string, spec: object): object {
  return { apiVersion: native, kind: 'Tier', metadata: { name }, spec };
}

export function namespace(name: string, labels: Labels = {}): object {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

/** `place` is `namespace/name`. */
export function networkPolicy(place: string, spec: object, annotations: Labels = {}): object {
  const [inNamespace, name] = place.split('/');
  const metadata = { namespace: inNamespace, name, annotations };
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec };
}

const adminVersion = 'policy.networking.k8s.io/v1alpha1';

export function adminPolicy(name: string, spec: object): object {
  return { apiVersion: adminVersion, kind: 'AdminNetworkPolicy', metadata: { name }, spec };
}

export function baselinePolicy(spec: object): object {
  return { apiVersion: adminVersion, kind: 'BaselineAdminNetworkPolicy', metadata: { name: 'default' }, spec };
}

export function clusterPolicy(name: string, spec: object): object {
  const apiVersion = 'policy.networking.k8s.io/v1alpha2';
  return { apiVersion, kind: 'ClusterNetworkPolicy', metadata: { name }, spec };
}

export interface WrittenPod {
  readonly labels?: Labels;
  readonly addresses?: readonly string[];
  /** By name, in the form of a label's value: `{http: 'tcp-8080'}`. */
  readonly ports?: Labels;
}

/** A workload in a Kubernetes namespace, with the facts about its addresses that the set's documents ask for. */
export function podOf(set: PolicySet, inNamespace: string, pod: WrittenPod = {}): Party {
  const documents = Object.values(set.documents).flatMap((ofKind): readonly Document[] => [...ofKind.values()]);
  const facts = addressFacts(documents.flatMap(documentLabelKeys))(pod.addresses ?? []);
  const ports = Object.entries(pod.ports ?? {}).map(([name, value]) => [namedPortPrefix + name, value] as const);
  const labels = { [namespaceLabel]: inNamespace, ...pod.labels, ...Object.fromEntries(ports), ...facts };
  return { kind: 'workload', labels };
}

/** `tcp 80`. */
export function service(text: string): Pick<Flow, 'protocol' | 'port'> {
  const [name = '', port] = text.split(' ');
  const protocol = Object.entries(protocolNumber).find(([known]) => known === name)?.[1];
  if (protocol === undefined) throw new Error(`"${name}" is no protocol`);
  return { protocol, port: Number(port) };
}
