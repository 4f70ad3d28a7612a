import { z } from 'zod';
import { documentSchemas } from './schema.ts';

/** JSON Schema (2020-12) of every kind of document, for editors. What spans fields is checked by `parseDocument` alone. */
export function documentJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(z.union(Object.values(documentSchemas)), { target: 'draft-2020-12' });
  return { ...schema, title: 'Bulkhead document' };
}
