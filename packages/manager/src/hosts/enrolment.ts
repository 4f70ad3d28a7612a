/** Enrolment of hosts: one-time token → certificate, renewal, revocation. All of it agreed in the ledger. */
import { hostName } from '@bulkhead/protocol';
import { newSecret, secretMatches } from './secrets.ts';
import type { Authority } from './authority.ts';
import type { Committer, Proposed } from '../store/committer.ts';
import type { AddressesAllowed, EnrolmentTokenState, LabelsAllowed } from '../store/commands.ts';
import type { State } from '../store/state.ts';

/** Most tokens that wait to be used. */
export const enrolmentTokensMax = 10_000;

export type EnrolResult =
  | { readonly kind: 'enrolled'; readonly certificatePem: string }
  | { readonly kind: 'refused'; readonly code: 'token' | 'host' | 'request'; readonly why: string };

export class Enrolment {
  readonly #committer: Committer;
  readonly #authority: Authority;
  readonly #nowMs: () => number;

  constructor(committer: Committer, authority: Authority, nowMs: () => number) {
    this.#committer = committer;
    this.#authority = authority;
    this.#nowMs = nowMs;
  }

  /** The secret is in the result and nowhere else. Null when too many tokens wait. */
  async createToken(
    by: string,
    options: {
      readonly host: string | null;
      readonly labelsAllowed: LabelsAllowed;
      readonly addressesAllowed?: AddressesAllowed;
      readonly forMs: number;
    },
  ): Promise<{ readonly token: EnrolmentTokenState; readonly secret: string } | null> {
    const { id, secret, secretHash } = newSecret();
    const createdMs = this.#nowMs();
    const token: EnrolmentTokenState = {
      id,
      secretHash,
      host: options.host,
      labelsAllowed: options.labelsAllowed,
      addressesAllowed: options.addressesAllowed ?? null,
      createdMs,
      expiresMs: createdMs + options.forMs,
      by,
    };
    const committed = await this.#committer.commit(by, (state): Proposed<boolean> => {
      const expired = [...state.hosts.tokens.values()].filter((other) => other.expiresMs <= createdMs);
      if (state.hosts.tokens.size - expired.length >= enrolmentTokensMax) return { commands: [], result: false };
      const revocations = expired.map((other) => ({ kind: 'enrolment-token-revoked', id: other.id }) as const);
      return { commands: [...revocations, { kind: 'enrolment-token-created', token }], result: true };
    });
    return committed.result ? { token, secret } : null;
  }

  async revokeToken(by: string, id: string): Promise<boolean> {
    const committed = await this.#committer.commit(by, (state): Proposed<boolean> =>
      state.hosts.tokens.has(id)
        ? { commands: [{ kind: 'enrolment-token-revoked', id }], result: true }
        : { commands: [], result: false },
    );
    return committed.result;
  }

  /** Of two hosts that use one token at once, one is enrolled: the ledger takes the token away with the first. */
  async enrol(
    host: string,
    token: { readonly id: string; readonly secret: string },
    requestPem: string,
  ): Promise<EnrolResult> {
    const early = this.#refusal(this.#committer.state, host, token);
    if (early !== null) return early;
    const result = await this.#authority.issueHost(host, requestPem);
    if (result.kind === 'refused') return { kind: 'refused', code: 'request', why: result.why };
    const committed = await this.#committer.commit(`host/${host}`, (state): Proposed<EnrolResult> => {
      const refusal = this.#refusal(state, host, token);
      if (refusal !== null) return { commands: [], result: refusal };
      const { labelsAllowed, addressesAllowed } = state.hosts.tokens.get(token.id)!;
      const { certificate, pem } = result.issued;
      return {
        commands: [{ kind: 'host-enrolled', host, token: token.id, certificate, labelsAllowed, addressesAllowed }],
        result: { kind: 'enrolled', certificatePem: pem },
      };
    });
    return committed.result;
  }

  /** For a host that is known by its present certificate. */
  async renew(host: string, requestPem: string): Promise<EnrolResult> {
    const result = await this.#authority.issueHost(host, requestPem);
    if (result.kind === 'refused') return { kind: 'refused', code: 'request', why: result.why };
    const committed = await this.#committer.commit(`host/${host}`, (state): Proposed<EnrolResult> => {
      const entry = state.hosts.hosts.get(host);
      if (entry === undefined || entry.revoked !== null) {
        return { commands: [], result: { kind: 'refused', code: 'host', why: `host ${host} is not enrolled` } };
      }
      const { certificate, pem } = result.issued;
      return {
        commands: [{ kind: 'host-renewed', host, certificate }],
        result: { kind: 'enrolled', certificatePem: pem },
      };
    });
    return committed.result;
  }

  /** The host's certificates and workloads go in one step. False when it is not enrolled. */
  async revoke(by: string, host: string, because: string): Promise<boolean> {
    const committed = await this.#committer.commit(by, (state): Proposed<boolean> => {
      const entry = state.hosts.hosts.get(host);
      if (entry === undefined || entry.revoked !== null) return { commands: [], result: false };
      const workloads = [...(state.inventory.workloadsByHost.get(host) ?? [])];
      return {
        commands: [
          { kind: 'host-revoked', host, because },
          ...(workloads.length === 0 ? [] : [{ kind: 'workloads', set: [], removed: workloads } as const]),
        ],
        result: true,
      };
    });
    return committed.result;
  }

  /** Null when the token may enrol the host. Wrong, used and expired tokens are told apart by nobody who has no valid one. */
  #refusal(state: State, host: string, given: { readonly id: string; readonly secret: string }): EnrolResult | null {
    const token = state.hosts.tokens.get(given.id);
    if (token === undefined || !secretMatches(given.secret, token.secretHash) || token.expiresMs <= this.#nowMs()) {
      return { kind: 'refused', code: 'token', why: 'the token is unknown, used or expired' };
    }
    if (!hostName.safeParse(host).success) return { kind: 'refused', code: 'host', why: `${host} is no host name` };
    if (token.host !== null && token.host !== host) {
      return { kind: 'refused', code: 'host', why: `the token is for another host than ${host}` };
    }
    const present = state.hosts.hosts.get(host);
    // Only a token made for this very host replaces a host: a general one must not take over a name.
    if (present !== undefined && present.revoked === null && token.host !== host) {
      return { kind: 'refused', code: 'host', why: `host ${host} is enrolled; a token made for it can enrol it again` };
    }
    return null;
  }
}
