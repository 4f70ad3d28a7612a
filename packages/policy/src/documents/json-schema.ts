import { z } from 'zod';
import { documentSchemas } from './schema.ts';

export const documentKinds = Object.keys(documentSchemas);

/**
 * JSON Schema (2020-12) of every kind of document, or of one, for editors; null for a kind that there is not. What spans fields is
 * checked by `parseDocument` alone.
 */
export function documentJsonSchema(kind?: string): Record<string, unknown> | null {
  if (kind !== undefined && !Object.hasOwn(documentSchemas, kind)) return null;
  const one = documentSchemas[kind as keyof typeof documentSchemas] as z.ZodType | undefined;
  const schema = z.toJSONSchema(one ?? z.union(Object.values(documentSchemas)), {
    target: 'draft-2020-12',
    io: 'input',
  });
  return { ...schema, title: kind === undefined ? 'Bulkhead document' : `Bulkhead ${kind}` };
}
