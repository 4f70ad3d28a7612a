/** What one route of the REST API is: everything that server, client, OpenAPI document and tests need to know of it. */
import { z } from 'zod';
import { queryNumber } from '../records.ts';
import type { Permission } from '../roles.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

export interface Route {
  readonly method: Method;
  /** With parameters as `:name`. */
  readonly path: string;
  /** What a token must permit; `public`: no token. */
  readonly permission: Permission | 'public';
  /**
   * `segment`: a token with a segment scope may use it, and sees and changes only what is in the scope. `cluster`: only tokens without
   * a scope. Public routes have no say in it.
   */
  readonly reach: 'segment' | 'cluster';
  readonly summary: string;
  /** Body of a success, or one line of it where `stream` is true (NDJSON: one JSON value a line, empty lines mean "still here"). */
  readonly response: z.ZodType;
  readonly stream?: boolean;
  readonly params?: z.ZodType<Record<string, string>, Record<string, string>>;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
}

/** A fault in a document, as `Problem` of the policy package. */
export const problemSchema = z.strictObject({
  path: z.string(),
  reason: z.string(),
  allowed: z.string().optional(),
  document: z.string().optional(),
  file: z.string().optional(),
});

export const apiErrorCodes = [
  'malformed',
  'unauthenticated',
  'forbidden',
  'out-of-scope',
  'not-found',
  'conflict',
  'refused',
  'too-large',
  'too-many-requests',
  'busy',
  'internal',
] as const;
export type ApiErrorCode = (typeof apiErrorCodes)[number];

export const apiError = z.strictObject({
  code: z.enum(apiErrorCodes),
  what: z.string(),
  /** Place in the request, where the fault has one. */
  where: z.string(),
  why: z.string(),
  do: z.string(),
  problems: z.array(problemSchema).optional(),
});
export type ApiError = z.infer<typeof apiError>;
export const apiErrorBody = z.strictObject({ error: apiError });

export const statusOfCode: Readonly<Record<ApiErrorCode, number>> = {
  malformed: 400,
  unauthenticated: 401,
  forbidden: 403,
  'out-of-scope': 403,
  'not-found': 404,
  conflict: 409,
  refused: 422,
  'too-large': 413,
  'too-many-requests': 429,
  busy: 503,
  internal: 500,
};

/** Most rows of one page. */
export const pageMax = 1000;
export const pageQuery = {
  /** Opaque; from the page before. */
  cursor: z.string().max(512).optional(),
  limit: queryNumber.pipe(z.int().min(1).max(pageMax)).default(100),
} as const;

export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.strictObject({ items: z.array(item), cursor: z.string().nullable() });
}
