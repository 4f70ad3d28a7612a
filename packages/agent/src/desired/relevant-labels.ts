/** Which labels documents read: what an identity must agree on with a workload to be its identity still. */
import { factPrefix, type Document, type Labels, type PolicySet } from '@bulkhead/policy';

/** Documents never change once parsed, nor do sets of them: each is read once, and a set only when it is asked about. */
const keysOfDocuments = new WeakMap<Document, ReadonlySet<string>>();
const keysOfSets = new WeakMap<PolicySet, ReadonlySet<string>>();

/** True when an identity's labels say the same as a workload's wherever the one has a label or some document reads one. */
export function isIdentityOf(set: PolicySet, identity: Labels, workload: Labels): boolean {
  for (const key of [...Object.keys(identity), ...relevantKeys(set)]) if (identity[key] !== workload[key]) return false;
  return true;
}

function relevantKeys(set: PolicySet): ReadonlySet<string> {
  const known = keysOfSets.get(set);
  if (known !== undefined) return known;
  const keys = new Set<string>();
  for (const documents of Object.values(set.documents)) {
    for (const document of documents.values() as Iterable<Document>) {
      let ofDocument = keysOfDocuments.get(document);
      if (ofDocument === undefined) keysOfDocuments.set(document, (ofDocument = keysIn(document)));
      for (const key of ofDocument) keys.add(key);
    }
  }
  keysOfSets.set(set, keys);
  return keys;
}

/** Keys of every selector, wherever in the document it stands, and of the facts that a segment asks for. */
function keysIn(document: Document): ReadonlySet<string> {
  const keys = new Set<string>();
  collect(document.spec, keys);
  if (document.kind === 'Segment') {
    const { bind, posture } = document.spec;
    if (bind?.images !== undefined) keys.add(`${factPrefix}image`);
    if (bind?.hosts !== undefined) keys.add(`${factPrefix}host`);
    if (posture?.isolation !== undefined) keys.add(`${factPrefix}class`).add(`${factPrefix}boundary`);
  }
  return keys;
}

function collect(value: unknown, keys: Set<string>): void {
  if (Array.isArray(value)) for (const item of value) collect(item, keys);
  else if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value)) {
      if (name === 'matchLabels') for (const key of Object.keys(inner as object)) keys.add(key);
      else if (name === 'matchExpressions') for (const { key } of inner as readonly { key: string }[]) keys.add(key);
      else collect(inner, keys);
    }
  }
}
