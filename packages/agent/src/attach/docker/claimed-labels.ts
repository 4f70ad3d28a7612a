/**
 * Which labels a container claims. Docker merges the labels of an image into those of its containers, and whoever built the image may
 * not choose a container's identity: only what was set on the container (`--label`) or on the attachment (`driver-opt`) counts. Pure.
 */
import { factPrefix, labelKeyFault, labelValueFault, type Labels } from '@bulkhead/policy';

/** `bulkhead.KEY=VALUE` claims KEY=VALUE. */
export const claimPrefix = 'bulkhead.';
const labelsMax = 64;

export interface Claim {
  readonly labels: Labels;
  /** Claims that do not count, each with its reason, for the log and `bulkhead describe`. */
  readonly refused: readonly string[];
}

/**
 * `image` are the labels of the container's image, null where the image cannot be asked any more: then no label can be told from the
 * image's, and none counts. A container label that equals its image's cannot be told apart either.
 */
export function claimedLabels(container: Labels, image: Labels | null): Claim {
  const labels: Record<string, string> = {};
  const refused: string[] = [];
  for (const [name, value] of Object.entries(container).sort(([one], [other]) => (one < other ? -1 : 1))) {
    if (!name.startsWith(claimPrefix)) continue;
    const key = name.slice(claimPrefix.length);
    const problem =
      image === null
        ? 'the image is gone, its labels cannot be told from the container’s'
        : labelProblem(key, value, Object.keys(labels).length);
    if (problem !== null) refused.push(`${name}: ${problem}`);
    else if (image?.[name] === value) refused.push(`${name}: comes from the image`);
    else labels[key] = value;
  }
  return { labels, refused };
}

/** Labels on the attachment. Here a wrong one is an error: somebody stands before the command that named it. */
export function claimedFromOptions(
  options: Readonly<Record<string, unknown>>,
): { readonly kind: 'claimed'; readonly labels: Labels } | { readonly kind: 'invalid'; readonly reason: string } {
  const labels: Record<string, string> = {};
  for (const [name, value] of Object.entries(options)) {
    if (!name.startsWith(claimPrefix)) continue;
    const key = name.slice(claimPrefix.length);
    const problem = typeof value === 'string' ? labelProblem(key, value, Object.keys(labels).length) : 'expected text';
    if (problem !== null) return { kind: 'invalid', reason: `${name}: ${problem}` };
    labels[key] = String(value);
  }
  return { kind: 'claimed', labels };
}

/** Why nobody may claim this label beside `count` others; null where anybody may. */
export function labelProblem(key: string, value: string, count: number): string | null {
  if (key.startsWith(factPrefix)) return `${factPrefix} labels are facts that nobody can claim`;
  if (count >= labelsMax) return `more than ${labelsMax} labels`;
  return labelKeyFault(key) ?? labelValueFault(key, value);
}
