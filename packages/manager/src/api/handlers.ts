import { analysisHandlers } from './analysis-handlers.ts';
import { explainHandlers } from './explain-handlers.ts';
import { enrolmentHandlers, inventoryHandlers } from './inventory-handlers.ts';
import { auditHandlers, operationHandlers } from './operation-handlers.ts';
import { policyHandlers } from './policy-handlers.ts';
import { trafficHandlers } from './traffic-handlers.ts';
import type { RouteName } from '@bulkhead/protocol';
import type { Handlers } from './handler.ts';

/** A handler for every route of the table: the compiler misses the one that is forgotten. */
export const handlers: Handlers<RouteName> = {
  ...policyHandlers,
  ...explainHandlers,
  ...analysisHandlers,
  ...inventoryHandlers,
  ...enrolmentHandlers,
  ...trafficHandlers,
  ...operationHandlers,
  ...auditHandlers,
};
