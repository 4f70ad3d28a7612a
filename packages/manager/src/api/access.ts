/** Who asks, and whether the route is for them. */
import { rolePermissions } from '@bulkhead/protocol';
import { toldMax } from '../audit/repetition-limit.ts';
import { failure } from './handler.ts';
import type { RepetitionLimit } from '../audit/repetition-limit.ts';
import type { Route } from '@bulkhead/protocol';
import type { Actor, AuditWriter } from '../services.ts';
import type { People } from '../people/people.ts';
import type { PersonTokenState } from '../store/commands.ts';
import type { Failure } from './handler.ts';

export type Access =
  | { readonly kind: 'granted'; readonly actor: Actor; readonly by: string; readonly token: PersonTokenState | null }
  | Failure;

const nobody: Access = { kind: 'granted', actor: { name: 'nobody', role: '', scope: null }, by: 'nobody', token: null };

/** The check that every route goes through. Valid tokens are never slowed down by others' failures. */
export class AccessControl {
  readonly #people: People;
  readonly #audit: AuditWriter;
  readonly #limit: RepetitionLimit;

  constructor(people: People, audit: AuditWriter, limit: RepetitionLimit) {
    this.#people = people;
    this.#audit = audit;
    this.#limit = limit;
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
    const { count, tell } = this.#limit.count(`login ${address}`);
    if (!tell) {
      return failure('too-many-requests', 'Too many requests without a valid token.', {
        where: 'headers.authorization',
        why: `More than ${toldMax} came from your address within a minute.`,
        do: 'Wait a minute. Requests with a valid token are answered all the time.',
      });
    }
    if (!missing || count === toldMax) {
      const details = { missing, failures: count, ...(count === toldMax ? { further: 'counted only' } : {}) };
      await this.#audit.record({ actor: 'nobody', action: 'login.failed', subject: address, details });
    }
    return failure('unauthenticated', 'Who are you?', {
      where: 'headers.authorization',
      why: missing ? 'There is no bearer token.' : 'The token is unknown, revoked or expired.',
      do: 'Send a valid token as `Authorization: Bearer …`.',
    });
  }
}
