import type { Recommendation } from './recommendation.ts';
import { invariantText } from './invariant-text.ts';

/** Most left-out entries that the text lists. */
const leftOutListedMax = 20;

/** What stands behind a recommendation, for people; the documents themselves are printed as documents are. */
export function recommendationText(recommendation: Recommendation): string {
  const { documents, rules, leftOut, broken, flows, flowsCovered } = recommendation;
  return [
    `${flowsCovered} of ${flows} allowed flows are described by ${rules.length} rules in ${documents.length} policies`,
    ...rules.map(({ policy, rule, flows: own }) => `  ${policy}/${rule}: ${own} flows`),
    ...leftOut.slice(0, leftOutListedMax).map(({ why, flows: own, rule }) => {
      const what = rule === null ? '' : `, rule ${rule.name}`;
      return `left out: ${own} flows${what}: ${why}`;
    }),
    ...(leftOut.length > leftOutListedMax ? [`and ${leftOut.length - leftOutListedMax} more reasons`] : []),
    ...broken.map((result) => `still: ${invariantText(result)}`),
  ].join('\n');
}
