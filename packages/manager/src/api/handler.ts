/** The shape of a handler: typed by its route, it gives a value, a stream or an error. */
import type { z } from 'zod';
import type { ApiError, ApiErrorCode, ApiRoutes, RouteName } from '@bulkhead/protocol';
import type { Actor, Unsubscribe } from '../services.ts';
import type { PersonTokenState } from '../store/commands.ts';
import type { ApiServices } from './services.ts';

type Parsed<R, Part extends 'params' | 'query' | 'body'> = R extends {
  readonly [K in Part]: infer Schema extends z.ZodType;
}
  ? z.output<Schema>
  : undefined;

export interface HandlerRequest<Name extends RouteName> {
  /** Who asks. On public routes: nobody, with no role and no scope. */
  readonly actor: Actor;
  /** The actor as the audit log and the ledger name it. */
  readonly by: string;
  /** The token that was shown; null on public routes. */
  readonly token: PersonTokenState | null;
  readonly params: Parsed<ApiRoutes[Name], 'params'>;
  readonly query: Parsed<ApiRoutes[Name], 'query'>;
  readonly body: Parsed<ApiRoutes[Name], 'body'>;
  /** Where the request came from. */
  readonly address: string;
  /** Aborted when the asker has gone. */
  readonly signal: AbortSignal;
}

export type Failure = { readonly kind: 'error'; readonly error: ApiError };

/** Writes one line; false when the reader is too slow and the stream has been ended. */
export type WriteLine = (value: unknown) => boolean;

export interface LineStream {
  readonly kind: 'stream';
  /** Starts writing. With `end` the stream is finished; the result is called when the reader has gone or the stream was ended. */
  readonly open: (write: WriteLine, end: () => void) => Unsubscribe;
}

/** A stream that has an end: it is read as fast as the reader takes it. */
export interface LineSource {
  readonly kind: 'source';
  readonly lines: AsyncIterable<unknown>;
}

export type HandlerResult<Name extends RouteName> =
  | Failure
  | (ApiRoutes[Name] extends { readonly stream: true }
      ? LineStream | LineSource
      : { readonly kind: 'ok'; readonly value: z.input<ApiRoutes[Name]['response']> });

export type Handler<Name extends RouteName> = (
  services: ApiServices,
  request: HandlerRequest<Name>,
) => HandlerResult<Name> | Promise<HandlerResult<Name>>;

export type Handlers<Names extends RouteName> = { readonly [Name in Names]: Handler<Name> };

export function ok<Value>(value: Value): { readonly kind: 'ok'; readonly value: Value } {
  return { kind: 'ok', value };
}

export function failure(
  code: ApiErrorCode,
  what: string,
  details: {
    readonly where?: string;
    readonly why: string;
    readonly do: string;
    readonly problems?: ApiError['problems'];
  },
): Failure {
  const { where = '', problems, ...rest } = details;
  return { kind: 'error', error: { code, what, where, ...rest, ...(problems === undefined ? {} : { problems }) } };
}

export function notFound(what: string, how: string): Failure {
  return failure('not-found', `There is no ${what}.`, {
    why: 'Nothing of that name exists, or it is outside your scope.',
    do: how,
  });
}

/** Whether something with these segments is within the asker's scope. */
export function inScope(actor: Actor, ...segments: readonly (readonly string[])[]): boolean {
  const { scope } = actor;
  return scope === null || segments.some((names) => names.some((name) => scope.includes(name)));
}

/** A page of what is already in order; the cursor is the key of its last item. */
export function pageByKey<Item>(
  ordered: Iterable<readonly [key: string, item: Item]>,
  page: { readonly cursor?: string | undefined; readonly limit: number },
): { items: Item[]; cursor: string | null } {
  const items: Item[] = [];
  let last: string | null = null;
  for (const [key, item] of ordered) {
    if (page.cursor !== undefined && key <= page.cursor) continue;
    if (items.length === page.limit) return { items, cursor: last };
    items.push(item);
    last = key;
  }
  return { items, cursor: null };
}

export function byKey<Item>(a: readonly [string, Item], b: readonly [string, Item]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
}
