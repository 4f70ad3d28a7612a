/**
 * The two shapes that Antrea's controller publishes figures for (TestInitXLargeScaleWithSmallNamespaces and
 * TestInitXLargeScaleWithOneNamespace), as documents and workloads of ours. Every pod has an identity of its own, as if each said
 * something that some selector asks for; in a running system pods that say the same share one.
 */
import {
  type Document,
  type IdentityId,
  identityFirst,
  type Labels,
  namespaceLabel,
  parseDocument,
} from '@bulkhead/policy';

export type ShapeName = 'wide' | 'dense';

export interface Shape {
  /** As they are written: Kubernetes' own Namespace and NetworkPolicy. */
  readonly values: object[];
  readonly pods: ReadonlyMap<IdentityId, Labels>;
  /** One policy of many with other words, for what a change costs. */
  changedPolicy(index: number): object;
}

const wideNamespaces = 25_000;
const densePods = 10_000;

export function makeShape(name: ShapeName): Shape {
  return name === 'wide' ? wideShape() : denseShape();
}

/** 25,000 namespaces, in each 4 pods and 3 policies: everything is denied, and each of two pairs may talk among themselves. */
function wideShape(): Shape {
  const values: object[] = [];
  const pods = new Pods();
  for (let index = 0; index < wideNamespaces; index++) {
    const namespace = `ns-${index}`;
    values.push(namespaceValue(namespace), policyValue(namespace, 'default-deny-all', {}));
    for (const app of ['1', '2']) {
      const labels = { [`app-${app}`]: `scale-${app}` };
      values.push(policyValue(namespace, `np-${app}`, labels, labels));
      for (let pod = 0; pod < 2; pod++) pods.add(namespace, labels);
    }
  }
  const labels = { 'app-1': 'scale-1' };
  return {
    values,
    pods: pods.all,
    changedPolicy: (index) => policyValue(`ns-${index % wideNamespaces}`, 'np-1', labels, labels, 1 + (index % 60_000)),
  };
}

/** One namespace with 10,000 pods and 10,000 policies, each of which selects every pod and permits it to all of them. */
function denseShape(): Shape {
  const [namespace, labels] = ['ns', { 'app-1': 'scale-1' }];
  const values: object[] = [namespaceValue(namespace)];
  const pods = new Pods();
  for (let index = 0; index < densePods; index++) {
    values.push(policyValue(namespace, `np-${index}`, labels, labels));
    pods.add(namespace, labels);
  }
  const changedPolicy = (index: number): object =>
    policyValue(namespace, `np-${index % densePods}`, labels, labels, 1 + (index % 60_000));
  return { values, pods: pods.all, changedPolicy };
}

class Pods {
  readonly all = new Map<IdentityId, Labels>();

  add(namespace: string, labels: Labels): void {
    this.all.set((identityFirst + this.all.size) as IdentityId, { [namespaceLabel]: namespace, ...labels });
  }
}

function namespaceValue(name: string): object {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: { app: name } } };
}

/** Both directions are selected; `from` may come in, to every port where none is given. */
function policyValue(namespace: string, name: string, podSelector: Labels, from?: Labels, port?: number): object {
  const ports = port === undefined ? {} : { ports: [{ protocol: 'TCP', port }] };
  const ingress = from === undefined ? {} : { ingress: [{ from: [{ podSelector: { matchLabels: from } }], ...ports }] };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name },
    spec: { podSelector: { matchLabels: podSelector }, policyTypes: ['Ingress', 'Egress'], ...ingress },
  };
}

export function parsed(value: object): Document {
  const result = parseDocument(value, {});
  if (result.kind === 'refused') throw new Error(JSON.stringify(result.problems));
  return result.document;
}
