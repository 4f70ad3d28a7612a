/** A client typed from the table of routes. How bytes travel (TLS over TCP or a socket file) is the transport's business. */
import type { z } from 'zod';
import { apiErrorBody } from './route.ts';
import { apiRoutes } from './table.ts';
import type { ApiError, Route } from './route.ts';
import type { ApiRoutes, RouteName } from './table.ts';

export interface TransportRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  /** JSON, null when there is none. */
  readonly body: string | null;
}

export interface ApiTransport {
  request(request: TransportRequest): Promise<{ readonly status: number; readonly body: string }>;
  /** The lines of the body as they arrive. Leaving the loop ends the request. */
  stream(request: TransportRequest): Promise<{ readonly status: number; readonly lines: AsyncIterable<string> }>;
}

export type ApiResult<Value> =
  | { readonly kind: 'ok'; readonly value: Value }
  | { readonly kind: 'error'; readonly status: number; readonly error: ApiError };

type Part<R, Name extends 'params' | 'query' | 'body'> = R extends {
  readonly [K in Name]: infer Schema extends z.ZodType;
}
  ? Name extends 'query'
    ? { readonly query?: z.input<Schema> }
    : { readonly [K in Name]: z.input<Schema> }
  : unknown;

export type RouteInput<Name extends RouteName> = Part<ApiRoutes[Name], 'params'> &
  Part<ApiRoutes[Name], 'query'> &
  Part<ApiRoutes[Name], 'body'>;
export type RouteOutput<Name extends RouteName> = z.output<ApiRoutes[Name]['response']>;

type Call<Name extends RouteName> = ApiRoutes[Name] extends { readonly stream: true }
  ? (...input: Arguments<Name>) => Promise<ApiResult<AsyncIterable<RouteOutput<Name>>>>
  : (...input: Arguments<Name>) => Promise<ApiResult<RouteOutput<Name>>>;
/** The argument may be left out where nothing in it is needed. */
type Arguments<Name extends RouteName> =
  unknown extends RouteInput<Name>
    ? []
    : object extends RouteInput<Name>
      ? [input?: RouteInput<Name>]
      : [input: RouteInput<Name>];

export type ApiClient = { readonly [Name in RouteName]: Call<Name> };

interface Input {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
}

/** Responses are taken as the manager gives them: a newer manager may say more. Errors of the transport itself reject. */
export function createApiClient(transport: ApiTransport): ApiClient {
  const calls = Object.entries<Route>(apiRoutes).map(([name, route]) => [
    name,
    (input: Input = {}) =>
      route.stream === true ? openStream(transport, route, input) : call(transport, route, input),
  ]);
  return Object.fromEntries(calls) as ApiClient;
}

async function call(transport: ApiTransport, route: Route, input: Input): Promise<ApiResult<unknown>> {
  const { status, body } = await transport.request(requestOf(route, input));
  if (status >= 200 && status < 300) return { kind: 'ok', value: JSON.parse(body) };
  return { kind: 'error', status, error: errorOf(status, body) };
}

async function openStream(
  transport: ApiTransport,
  route: Route,
  input: Input,
): Promise<ApiResult<AsyncIterable<unknown>>> {
  const { status, lines } = await transport.stream(requestOf(route, input));
  if (status >= 200 && status < 300) return { kind: 'ok', value: values(lines) };
  let body = '';
  for await (const line of lines) body += line;
  return { kind: 'error', status, error: errorOf(status, body) };
}

async function* values(lines: AsyncIterable<string>): AsyncGenerator<unknown> {
  for await (const line of lines) if (line.trim() !== '') yield JSON.parse(line);
}

export function requestOf(route: Route, input: Input): TransportRequest {
  const path = route.path.replace(/:([a-z]+)/gi, (_, name: string) => {
    const value = input.params?.[name];
    if (value === undefined) throw new Error(`${route.path} needs the parameter ${name}`);
    return encodeURIComponent(value);
  });
  const query = Object.entries(input.query ?? {})
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(String(value))}`);
  const body = route.body === undefined ? null : JSON.stringify(input.body ?? {});
  return { method: route.method, path: query.length === 0 ? path : `${path}?${query.join('&')}`, body };
}

function errorOf(status: number, body: string): ApiError {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    // Something between us and the manager answered: told below.
    value = null;
  }
  const parsed = apiErrorBody.safeParse(value);
  if (parsed.success) return parsed.data.error;
  const why = `status ${status} without an error of ours: ${body.slice(0, 200)}`;
  return { code: 'internal', what: 'The answer is not from a manager.', where: '', why, do: 'Check the address.' };
}
