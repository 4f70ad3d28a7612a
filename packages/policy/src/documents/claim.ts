import type { InvariantDocument } from './document.ts';

/** What an invariant says about connections; see `Invariant`. */
export type ClaimKind = keyof InvariantDocument['spec'];
export type Claim = NonNullable<InvariantDocument['spec'][ClaimKind]>;

/** The one claim that the document makes. */
export function claimOf({ spec, metadata }: InvariantDocument): readonly [ClaimKind, Claim] {
  for (const claim of ['never', 'always', 'neverReaches'] as const) {
    const claimed = spec[claim];
    if (claimed !== undefined) return [claim, claimed];
  }
  throw new Error(`the parsed invariant ${metadata.name} claims nothing`);
}
