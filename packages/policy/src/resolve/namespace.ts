import type { NamespaceDocument } from '../documents/document.ts';
import { type Labels, namespaceLabel } from '../model.ts';
import { labelOf, type Selector, selectorMatches } from '../select/selector.ts';
import type { NamespaceSelection } from './peers.ts';

/** The label that every Kubernetes namespace has without being given it: its name. */
export const namespaceNameLabel = 'kubernetes.io/metadata.name';

/** Labels of the namespaces that have a document, by name. */
export type Namespaces = ReadonlyMap<string, Labels>;

export function labelsOfNamespace({ metadata }: NamespaceDocument): Labels {
  return { ...metadata.labels, [namespaceNameLabel]: metadata.name };
}

/** The namespace that a workload with these labels is in; null where it is in none. */
export function namespaceOf(labels: Labels): string | null {
  return labelOf(labels, namespaceLabel) ?? null;
}

/** A namespace without a document has its name for a label and nothing else. */
export function namespaceSelected(namespaces: Namespaces, selection: NamespaceSelection, name: string): boolean {
  if (selection.kind === 'name') return selection.name === name;
  return selectorMatches(selection.selector, namespaces.get(name) ?? { [namespaceNameLabel]: name });
}

/** True for a workload that is in one of the namespaces and that the selector matches. */
export function podSelected(
  namespaces: Namespaces,
  peer: { readonly namespaces: NamespaceSelection; readonly pods: Selector },
  labels: Labels,
): boolean {
  const name = namespaceOf(labels);
  return name !== null && namespaceSelected(namespaces, peer.namespaces, name) && selectorMatches(peer.pods, labels);
}
