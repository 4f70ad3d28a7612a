/** Who asks, and whether the route is for them. */
import { rolePermissions } from '@bulkhead/protocol';
import { failure } from './handler.ts';
import type { Route } from '@bulkhead/protocol';
import type { Actor, AuditWriter } from '../services.ts';
import type { People } from '../people/people.ts';
import type { PersonTokenState } from '../store/commands.ts';
import type { Failure } from './handler.ts';

/** Failed logins per address that are answered and told one by one; what comes faster is only counted. */
const failuresMax = 10;
const failureWindowMs = 60_000;
/** Addresses that are watched at a time. */
const addressesMax = 10_000;

export type Access =
  | { readonly kind: 'granted'; readonly actor: Actor; readonly by: string; readonly token: PersonTokenState | null }
  | Failure;

const nobody: Access = { kind: 'granted', actor: { name: 'nobody', role: '', scope: null }, by: 'nobody', token: null };

/** The check that every route goes through. Valid tokens are never slowed down by others' failures. */
export class AccessControl {
  readonly #people: People;
  readonly #audit: AuditWriter;
  readonly #nowMs: () => number;
  readonly #failures = new Map<string, { sinceMs: number; count: number }>();

  constructor(people: People, audit: AuditWriter, nowMs: () => number) {
    this.#people = people;
    this.#audit = audit;
    this.#nowMs = nowMs;
  }

  async check(
    route: Pick<Route, 'permission' | 'reach' | 'path' | 'method'>,
    authorization: string | undefined,
    address: string,
  ): Promise<Access> {
    if (route.permission === 'public') return nobody;
    const text = authorization?.startsWith('Bearer ') === true ? authorization.slice('Bearer '.length) : null;
    const token = text === null ? null : this.#people.authenticate(text);
    if (token === null) return this.#refuseLogin(address, text === null);
    const { name, role, scope } = token;
    if (!rolePermissions[role].has(route.permission)) {
      return failure('forbidden', 'Your role does not permit this.', {
        why: `${route.method} ${route.path} needs the permission ${route.permission}; the role ${role} has ${[...rolePermissions[role]].join(', ')}.`,
        do: 'Ask an administrator, or use a token of another role.',
      });
    }
    if (route.reach === 'cluster' && scope !== null) {
      return failure('out-of-scope', 'This concerns the whole cluster.', {
        why: `Your token is for ${scope.join(', ')} only.`,
        do: 'Use a token without a scope.',
      });
    }
    return { kind: 'granted', actor: { name, role, scope }, by: `person/${name}`, token };
  }

  async #refuseLogin(address: string, missing: boolean): Promise<Failure> {
    const count = this.#countFailure(address);
    if (count > failuresMax) {
      return failure('too-many-requests', 'Too many requests without a valid token.', {
        where: 'headers.authorization',
        why: `More than ${failuresMax} came from your address within a minute.`,
        do: 'Wait a minute. Requests with a valid token are answered all the time.',
      });
    }
    if (!missing || count === failuresMax) {
      const details = { missing, failures: count, ...(count === failuresMax ? { further: 'counted only' } : {}) };
      await this.#audit.record({ actor: 'nobody', action: 'login.failed', subject: address, details });
    }
    return failure('unauthenticated', 'Who are you?', {
      where: 'headers.authorization',
      why: missing ? 'There is no bearer token.' : 'The token is unknown, revoked or expired.',
      do: 'Send a valid token as `Authorization: Bearer …`.',
    });
  }

  #countFailure(address: string): number {
    const nowMs = this.#nowMs();
    const known = this.#failures.get(address);
    if (known !== undefined && nowMs - known.sinceMs < failureWindowMs) {
      known.count += 1;
      return known.count;
    }
    if (this.#failures.size >= addressesMax) this.#failures.clear();
    this.#failures.set(address, { sinceMs: nowMs, count: 1 });
    return 1;
  }
}
