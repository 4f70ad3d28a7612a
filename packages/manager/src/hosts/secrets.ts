/** Random secrets of tokens, and their hashes: the only form that is stored. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

export interface NewSecret {
  readonly id: string;
  readonly secret: string;
  readonly secretHash: string;
}

export function newSecret(): NewSecret {
  const secret = randomBytes(32).toString('base64url');
  return { id: randomBytes(8).toString('hex'), secret, secretHash: hashSecret(secret) };
}

export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

export function secretMatches(secret: string, secretHash: string): boolean {
  return timingSafeEqual(Buffer.from(hashSecret(secret), 'hex'), Buffer.from(secretHash, 'hex'));
}
