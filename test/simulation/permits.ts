/** What policy says about a connection in a simulation, from `decide()` and nothing else. */
import { decide, factPrefix, findRule, type Labels, type PolicySet, type SideVerdict } from '@bulkhead/policy';
import type { SimulatedWorkload } from './host.ts';

export type Permission = 'yes' | 'no' | 'either';

/** Claims and the facts that the manager adds to them. */
export function withFacts({ host }: SimulatedWorkload, labels: Labels): Labels {
  return {
    ...labels,
    [`${factPrefix}host`]: host.name,
    [`${factPrefix}class`]: 'shared',
    [`${factPrefix}boundary`]: 'none',
    [`${factPrefix}engine`]: 'netns',
  };
}

/** Whether a packet to an address that nobody has may leave its workload, which knows the address by these names. */
export function mayLeave(
  policySet: PolicySet,
  source: Labels,
  { address, names = [] }: { readonly address: string; readonly names?: readonly string[] },
  port: number,
): boolean {
  const flow = {
    source: { kind: 'workload', labels: source },
    destination: { kind: 'address', address, names },
    protocol: 6,
    port,
  } as const;
  const { egress } = decide(policySet, flow);
  return egress.action === 'allow' || (egress.action === 'ask' && answerOf(policySet, egress) !== 'no');
}

/** What policy says about a TCP connection; `either` where it depends on more than is known here. */
export function permits(policySet: PolicySet, source: Labels, destination: Labels, port: number): Permission {
  const flow = {
    source: { kind: 'workload', labels: source },
    destination: { kind: 'workload', labels: destination },
    protocol: 6,
    port,
  } as const;
  const verdict = decide(policySet, flow);
  if (verdict.action !== 'ask') return verdict.action === 'allow' ? 'yes' : 'no';
  const sides = [verdict.egress, verdict.ingress]
    .filter(({ action }) => action === 'ask')
    .map((side) => answerOf(policySet, side));
  return sides.includes('no') ? 'no' : sides.includes('either') ? 'either' : 'yes';
}

/** Generated rules ask with no condition, `true`, or one on the rate. */
function answerOf(policySet: PolicySet, { reason }: SideVerdict): Permission {
  if (reason.kind !== 'rule') return 'no';
  const rule = findRule(policySet, reason);
  if (rule?.document == null) return 'no';
  const { when } = rule.document;
  return when === undefined || when === 'true' ? 'yes' : 'either';
}
