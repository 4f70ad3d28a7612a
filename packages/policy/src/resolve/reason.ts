import type { Reason } from '../model.ts';

/** `tier/policy/rule`, `posture:SEGMENT`, `posture:namespace/NAME` or `builtin:NAME`: the form of a reason in logs, flows and tables. */
export function reasonText(reason: Reason): string {
  switch (reason.kind) {
    case 'rule':
      return `${reason.tier}/${reason.policy}/${reason.rule}`;
    case 'posture':
      return `posture:${reason.segment}`;
    case 'namespace':
      return `posture:namespace/${reason.namespace}`;
    case 'builtin':
      return `builtin:${reason.name}`;
  }
}
