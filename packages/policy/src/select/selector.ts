import type { Labels } from '../model.ts';

export type SelectorOperator = 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';

export interface SelectorExpression {
  readonly key: string;
  readonly operator: SelectorOperator;
  readonly values?: readonly string[] | undefined;
}

/** Kubernetes' label selector: everything in it must hold; an empty one selects every workload. */
export interface Selector {
  readonly matchLabels?: Labels | undefined;
  readonly matchExpressions?: readonly SelectorExpression[] | undefined;
}

export function selectorMatches(selector: Selector, labels: Labels): boolean {
  for (const key in selector.matchLabels) {
    if (labelOf(labels, key) !== selector.matchLabels[key]) return false;
  }
  return (selector.matchExpressions ?? []).every((expression) => expressionMatches(expression, labels));
}

/** `NotIn` holds where the label is absent, as in Kubernetes. */
function expressionMatches(expression: SelectorExpression, labels: Labels): boolean {
  const value = labelOf(labels, expression.key);
  switch (expression.operator) {
    case 'In':
      return value !== undefined && (expression.values ?? []).includes(value);
    case 'NotIn':
      return value === undefined || !(expression.values ?? []).includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

/** Labels come from parsed JSON too, where a key such as `constructor` would else find the prototype's. */
export function labelOf(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

/** Equal texts mean equal selectors, whatever order their parts were written in. */
export function selectorKey(selector: Selector): string {
  const terms = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => JSON.stringify([key, 'In', value]));
  if (selector.matchExpressions === undefined && terms.length < 2) return terms[0] ?? '';
  for (const expression of selector.matchExpressions ?? []) {
    const values = [...new Set(expression.values ?? [])].sort();
    terms.push(JSON.stringify([expression.key, expression.operator, ...values]));
  }
  return [...new Set(terms)].sort().join('&');
}

/** The selector in words, for explanations. */
export function selectorText(selector: Selector): string {
  const terms = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    const list = values.join(', ');
    terms.push(
      operator === 'In'
        ? `${key} in (${list})`
        : operator === 'NotIn'
          ? `${key} not in (${list})`
          : operator === 'Exists'
            ? key
            : `!${key}`,
    );
  }
  return terms.length === 0 ? 'every workload' : terms.join(', ');
}
