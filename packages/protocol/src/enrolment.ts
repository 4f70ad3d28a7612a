/** Names and tokens that agent, command line and manager must read alike when a host is enrolled. */
import { z } from 'zod';

/** The name that every manager's certificate carries, whatever address it is reached at: clients ask for it in TLS (SNI). */
export const managerServerName = 'manager.bulkhead';

/** A host's name: part of its SPIFFE id and the first part of its workloads' ids, so without slashes. */
export const hostName = z
  .string()
  .max(63)
  .regex(
    /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/,
    'a host name has letters, digits, dots and dashes, and begins and ends with one of the first two',
  );

const spiffePrefix = 'spiffe://bulkhead/host/';

export function hostSpiffeId(host: string): string {
  return `${spiffePrefix}${host}`;
}

/** The host that a SPIFFE id names, or null when it is not one of ours. */
export function hostOfSpiffeId(id: string): string | null {
  if (!id.startsWith(spiffePrefix)) return null;
  const parsed = hostName.safeParse(id.slice(spiffePrefix.length));
  return parsed.success ? parsed.data : null;
}

/**
 * A one-time token as a person carries it from the manager to a host. `authority` is the SHA-256 of the manager's CA certificate (DER),
 * hexadecimal: the agent fetches the certificate without trusting the connection, and trusts it only if the hash is this.
 */
export interface EnrolmentToken {
  readonly id: string;
  readonly secret: string;
  readonly authority: string;
}

export function formatEnrolmentToken(token: EnrolmentToken): string {
  return `bhe.${token.id}.${token.secret}.${token.authority}`;
}

export function parseEnrolmentToken(text: string): EnrolmentToken | null {
  const match = /^bhe\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})\.([0-9a-f]{64})$/.exec(text.trim());
  return match === null ? null : { id: match[1]!, secret: match[2]!, authority: match[3]! };
}

/** A person's bearer token. */
export interface PersonToken {
  readonly id: string;
  readonly secret: string;
}

export function formatPersonToken(token: PersonToken): string {
  return `bhp.${token.id}.${token.secret}`;
}

export function parsePersonToken(text: string): PersonToken | null {
  const match = /^bhp\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})$/.exec(text.trim());
  return match === null ? null : { id: match[1]!, secret: match[2]! };
}
