import { factPrefix } from '../model.ts';

/** Largest name of a document, a tier or a rule, in characters. Three of them make a rule's reference. */
export const nameCharactersMax = 63;
const labelNameCharactersMax = 63;
const labelPrefixCharactersMax = 253;
const factValueCharactersMax = 512;

export const namePattern = /^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/;
export const nameRule = `1 to ${nameCharactersMax} of a-z 0-9 . _ - with a letter or digit at both ends`;

const labelName = /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/;
const labelPrefix = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;

/** Why the text is no label key (Kubernetes' syntax), null where it is one. */
export function labelKeyFault(key: string): string | null {
  const slash = key.indexOf('/');
  const prefix = slash < 0 ? null : key.slice(0, slash);
  const name = key.slice(slash + 1);
  if (prefix !== null && (prefix.length > labelPrefixCharactersMax || !labelPrefix.test(prefix))) {
    return `the prefix of label key "${key}" is no DNS name`;
  }
  if (name.length > labelNameCharactersMax || !labelName.test(name)) return `"${key}" is no label key`;
  return null;
}

/** Why the text is no value of that label, null where it is one. Facts may hold image digests, which are longer and have a colon. */
export function labelValueFault(key: string, value: string): string | null {
  if (key.startsWith(factPrefix)) {
    return value.length <= factValueCharactersMax && /^[\x21-\x7e]*$/.test(value)
      ? null
      : `"${value}" is no value of a fact`;
  }
  if (value === '') return null;
  return value.length <= labelNameCharactersMax && labelName.test(value) ? null : `"${value}" is no label value`;
}

export const labelKeyRule = '[prefix/]name, the name 1 to 63 of A-Z a-z 0-9 . _ - with a letter or digit at both ends';
export const labelValueRule = 'empty, or 1 to 63 of A-Z a-z 0-9 . _ - with a letter or digit at both ends';

/** The known name nearest to what was written, where it is near enough to be a slip. */
export function nearestName(written: string, known: Iterable<string>): string | null {
  let best: string | null = null;
  if (written.length > nameCharactersMax) return null;
  let bestDistance = (written.length <= 3 ? 1 : Math.max(2, Math.floor(written.length / 3))) + 1;
  for (const name of known) {
    if (Math.abs(name.length - written.length) >= bestDistance) continue;
    const distance = editDistance(written.toLowerCase(), name.toLowerCase());
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's distance over two rows. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, previous[j]! + 1, current[j - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}
