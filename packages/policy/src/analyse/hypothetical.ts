import { factPrefix, type Labels } from '../model.ts';
import type { Segment } from '../resolve/segment.ts';
import { labelOf, type Selector, selectorMatches } from '../select/selector.ts';

/** The best that can be measured, so that no demand of isolation hides what a workload could do. */
const bestIsolation: Labels = { [`${factPrefix}class`]: 'microvm', [`${factPrefix}boundary`]: 'hardware' };

/** A value for a label of which only the presence is asked; longer while it is one of those that are not wanted. */
const anyValue = 'any';

/** As few labels as satisfy the selector, and the best isolation; null where nothing can satisfy it. */
export function satisfyingLabels(selector: Selector): Labels | null {
  const labels: Record<string, string> = { ...bestIsolation, ...selector.matchLabels };
  const expressions = selector.matchExpressions ?? [];
  const unwanted = (key: string): Set<string> =>
    new Set(
      expressions.flatMap((expression) =>
        expression.key === key && expression.operator === 'NotIn' ? (expression.values ?? []) : [],
      ),
    );
  for (const { key, operator, values = [] } of expressions) {
    const isSet = labelOf(labels, key) !== undefined;
    if (operator === 'In' && !isSet) {
      const fits = (value: string): boolean => selectorMatches(partAbout(selector, key), { [key]: value });
      labels[key] = values.find(fits) ?? values[0] ?? anyValue;
    } else if (operator === 'Exists' && !isSet && !expressions.some((e) => e.key === key && e.operator === 'In')) {
      let value = anyValue;
      while (unwanted(key).has(value)) value += '-';
      labels[key] = value;
    }
  }
  return selectorMatches(selector, labels) ? labels : null;
}

function partAbout(selector: Selector, key: string): Selector {
  return { matchExpressions: (selector.matchExpressions ?? []).filter((expression) => expression.key === key) };
}

/** Labels and facts that make a member of the segment; null where it has no workloads. */
export function memberLabels({ selector, bind }: Segment): Labels | null {
  const labels = selector === null ? null : satisfyingLabels(selector);
  if (labels === null) return null;
  const [image] = bind.images;
  const [host] = bind.hosts;
  return {
    ...labels,
    ...(image === undefined ? {} : { [`${factPrefix}image`]: image }),
    ...(host === undefined ? {} : { [`${factPrefix}host`]: host }),
  };
}
