/** Bearer tokens of people: made, ended and recognized. Only hashes are kept. */
import { formatPersonToken, parsePersonToken } from '@bulkhead/protocol';
import { newSecret, secretMatches } from '../hosts/secrets.ts';
import type { Role } from '@bulkhead/protocol';
import type { Committer, Proposed } from '../store/committer.ts';
import type { PersonTokenState } from '../store/commands.ts';

/** Most tokens that are valid at a time. */
export const personTokensMax = 10_000;

export type CreateTokenResult =
  | { readonly kind: 'created'; readonly token: PersonTokenState; readonly text: string }
  | { readonly kind: 'full' }
  /** A name stands for one token, since the audit log knows people by it. */
  | { readonly kind: 'taken' };

export class People {
  readonly #committer: Committer;
  readonly #nowMs: () => number;

  constructor(committer: Committer, nowMs: () => number) {
    this.#committer = committer;
    this.#nowMs = nowMs;
  }

  /** Whose token this is; null when it is no token, or not valid now. */
  authenticate(text: string): PersonTokenState | null {
    const given = parsePersonToken(text);
    const token = given === null ? undefined : this.#committer.state.people.get(given.id);
    if (given === null || token === undefined || !secretMatches(given.secret, token.secretHash)) return null;
    return this.isValid(token.id) ? token : null;
  }

  /** Neither revoked nor ended. */
  isValid(id: string): boolean {
    const token = this.#committer.state.people.get(id);
    return token !== undefined && (token.expiresMs === null || token.expiresMs > this.#nowMs());
  }

  all(): readonly PersonTokenState[] {
    return [...this.#committer.state.people.values()];
  }

  async create(
    by: string,
    options: {
      readonly name: string;
      readonly role: Role;
      readonly scope: readonly string[] | null;
      readonly forMs: number | null;
    },
    /** Gets the token's text before it is valid, to keep it where a crash does not lose it. */
    keep: (text: string) => void = () => undefined,
  ): Promise<CreateTokenResult> {
    const { id, secret, secretHash } = newSecret();
    const createdMs = this.#nowMs();
    const token: PersonTokenState = {
      id,
      name: options.name,
      secretHash,
      role: options.role,
      scope: options.scope,
      createdMs,
      expiresMs: options.forMs === null ? null : createdMs + options.forMs,
      by,
    };
    const text = formatPersonToken({ id, secret });
    keep(text);
    const committed = await this.#committer.commit(by, (state): Proposed<'created' | 'full' | 'taken'> => {
      const expired = [...state.people.values()].filter(
        (other) => other.expiresMs !== null && other.expiresMs <= createdMs,
      );
      const valid = [...state.people.values()].filter((other) => !expired.includes(other));
      if (valid.length >= personTokensMax) return { commands: [], result: 'full' };
      if (valid.some((other) => other.name === token.name)) return { commands: [], result: 'taken' };
      const revocations = expired.map((other) => ({ kind: 'person-token-revoked', id: other.id }) as const);
      return { commands: [...revocations, { kind: 'person-token-created', token }], result: 'created' };
    });
    if (committed.result !== 'created') return { kind: committed.result };
    return { kind: 'created', token, text };
  }

  /** `last`: it is the only one that could still give tokens to anybody. */
  async revoke(by: string, id: string): Promise<'revoked' | 'not-found' | 'last'> {
    const committed = await this.#committer.commit(by, (state): Proposed<'revoked' | 'not-found' | 'last'> => {
      const token = state.people.get(id);
      if (token === undefined) return { commands: [], result: 'not-found' };
      const others = [...state.people.values()].filter((other) => other.id !== id && isLasting(other));
      if (isLasting(token) && others.length === 0) return { commands: [], result: 'last' };
      return { commands: [{ kind: 'person-token-revoked', id }], result: 'revoked' };
    });
    return committed.result;
  }
}

function isLasting(token: PersonTokenState): boolean {
  return token.role === 'administrator' && token.scope === null && token.expiresMs === null;
}
