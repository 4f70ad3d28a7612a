/** The OpenAPI 3.1 document of the API, made from the table. */
import { z } from 'zod';
import { rolePermissions, roles } from '../roles.ts';
import { apiErrorBody } from './route.ts';
import { apiRoutes } from './table.ts';
import type { Route } from './route.ts';

type Json = Readonly<Record<string, unknown>>;

export function openApiDocument(version: string): Json {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const [name, route] of Object.entries<Route>(apiRoutes)) {
    const path = route.path.replace(/:([a-z]+)/gi, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(name, route) };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Bulkhead manager', version },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Error: schemaOf(apiErrorBody, 'output') },
    },
  };
}

function operation(name: string, route: Route): Json {
  const type = route.stream === true ? 'application/x-ndjson' : 'application/json';
  return {
    operationId: name,
    summary: route.summary,
    ...(route.permission === 'public' ? { security: [] } : {}),
    'x-permission': route.permission,
    'x-roles': route.permission === 'public' ? [...roles] : roles.filter((role) => allows(role, route)),
    'x-reach': route.reach,
    parameters: [...parameters('path', route.params), ...parameters('query', route.query)],
    ...(route.body === undefined
      ? {}
      : {
          requestBody: { required: true, content: { 'application/json': { schema: schemaOf(route.body, 'input') } } },
        }),
    responses: {
      200: { description: 'Done.', content: { [type]: { schema: schemaOf(route.response, 'output') } } },
      default: {
        description: 'Refused or failed.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  };
}

function allows(role: (typeof roles)[number], route: Route): boolean {
  return route.permission !== 'public' && rolePermissions[role].has(route.permission);
}

function parameters(where: 'path' | 'query', schema: z.ZodType | undefined): readonly Json[] {
  if (schema === undefined) return [];
  const json = schemaOf(schema, 'input');
  const properties = (json['properties'] ?? {}) as Record<string, unknown>;
  const required = new Set((json['required'] ?? []) as string[]);
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: where,
    required: where === 'path' || required.has(name),
    schema: property,
  }));
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}
