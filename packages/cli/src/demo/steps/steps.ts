/** The demo, in order. */
import type { Step } from '../step.ts';
import { agentBack, agentKilled } from './agent-steps.ts';
import { published, scanned, spoofed } from './attack-steps.ts';
import { allowed, deniedByDefault, rejected } from './policy-steps.ts';
import { askedAndAllowed, askedAndApproved, askedAndRefused } from './question-steps.ts';

export const steps: readonly Step[] = [
  allowed,
  deniedByDefault,
  rejected,
  askedAndAllowed,
  askedAndRefused,
  askedAndApproved,
  scanned,
  spoofed,
  published,
  agentKilled,
  agentBack,
];
