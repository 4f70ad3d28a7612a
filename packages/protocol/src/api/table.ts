/**
 * The REST API: one table. The manager registers its routes from it, the command line's client and the OpenAPI document are made from
 * it, and a test walks it with every role.
 */
import { analysisRoutes } from './analysis-routes.ts';
import { inventoryRoutes } from './inventory-routes.ts';
import { operationRoutes } from './operation-routes.ts';
import { policyRoutes } from './policy-routes.ts';
import { trafficRoutes } from './traffic-routes.ts';

export const apiRoutes = {
  ...policyRoutes,
  ...analysisRoutes,
  ...inventoryRoutes,
  ...trafficRoutes,
  ...operationRoutes,
} as const;

export type ApiRoutes = typeof apiRoutes;
export type RouteName = keyof ApiRoutes;
