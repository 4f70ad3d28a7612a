/** Which labels documents read: what an identity must agree on with a workload to be its identity still. */
import { addressFacts, documentLabelKeys, type Document, type Labels, type PolicySet } from '@bulkhead/policy';

/** Documents never change once parsed, nor do sets of them: each is read once, and a set only when it is asked about. */
const keysOfDocuments = new WeakMap<Document, ReadonlySet<string>>();
const keysOfSets = new WeakMap<PolicySet, ReadonlySet<string>>();

/**
 * True when an identity's labels say the same as a workload's wherever the one has a label or some document reads one. Facts about
 * addresses are part of an identity and not of a workload's labels: they follow from its addresses.
 */
export function isIdentityOf(
  set: PolicySet,
  identity: Labels,
  workload: { readonly labels: Labels; readonly addresses: readonly string[] },
): boolean {
  const keys = new Set([...Object.keys(identity), ...relevantKeys(set)]);
  const labels = { ...workload.labels, ...addressFacts(keys)(workload.addresses) };
  for (const key of keys) if (identity[key] !== labels[key]) return false;
  return true;
}

function relevantKeys(set: PolicySet): ReadonlySet<string> {
  const known = keysOfSets.get(set);
  if (known !== undefined) return known;
  const keys = new Set<string>();
  for (const documents of Object.values(set.documents)) {
    for (const document of documents.values() as Iterable<Document>) {
      let ofDocument = keysOfDocuments.get(document);
      if (ofDocument === undefined) keysOfDocuments.set(document, (ofDocument = new Set(documentLabelKeys(document))));
      for (const key of ofDocument) keys.add(key);
    }
  }
  keysOfSets.set(set, keys);
  return keys;
}
