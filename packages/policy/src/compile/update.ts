import type { CidrPeer, CompiledSubject, Direction, IdentityId, Labels, PeerId, PortTable } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';

/** What changed for the compiler. Everything in one change takes effect together. */
export interface CompilerChange {
  readonly policySet?: PolicySet;
  readonly identities?: {
    /** New identities, and known ones with other labels. */
    readonly set?: Iterable<readonly [IdentityId, Labels]>;
    /** An identity that is a subject stops being one. What is both removed and set is set. */
    readonly removed?: Iterable<IdentityId>;
  };
  /** The identities for which tables are wanted; each must be known, or be `reservedIdentity.unknown`. */
  readonly subjects?: { readonly added?: Iterable<IdentityId>; readonly removed?: Iterable<IdentityId> };
}

export interface RowChange {
  readonly peer: PeerId;
  /** null where the peer had no row of its own. */
  readonly before: PortTable | null;
  /** null where the peer has no row of its own any more. */
  readonly after: PortTable | null;
}

export interface DirectionChange {
  readonly rows: readonly RowChange[];
  /** null where the table of peers without a row stayed the same. `before` is null for a new subject. */
  readonly others: { readonly before: PortTable | null; readonly after: PortTable } | null;
}

export type SubjectChange =
  | { readonly kind: 'removed'; readonly identity: IdentityId }
  | ({
      readonly kind: 'added' | 'changed';
      readonly identity: IdentityId;
      readonly compiled: CompiledSubject;
      /**
       * False where the rows may be written in place, one by one: no peer that existed before, and no address, has another verdict.
       * True where a fresh ruleset must take over in one step, and live connections must be judged again. True for a new subject.
       */
      readonly flip: boolean;
    } & Readonly<Record<Direction, DirectionChange>>);

/** A prefix that came or went, and the peer of its addresses without it: the next wider prefix in use, or the world. */
export interface CidrChange extends CidrPeer {
  readonly covering: PeerId;
}

/**
 * What the tables became. To write it without a moment in which an address has a wider verdict than before and after:
 *
 * 1. For each of `cidrs.added`, in each ruleset in force: copy the row of `covering`, where there is one, to `peer`.
 * 2. Write the prefixes of `cidrs.added`.
 * 3. Write the new rows: in place where `flip` is false, else as a fresh ruleset and flip to it. A fresh ruleset gets for each of
 *    `cidrs.removed` a copy of the row of `covering` too.
 * 4. Remove the prefixes of `cidrs.removed`, then their rows. Only now tell the kernel addresses of identities that are new.
 *
 * An identity must not stand behind an address in the kernel before the update that knows it is written: until then its packets
 * would be judged by `others`.
 */
export interface CompilerUpdate {
  readonly subjects: readonly SubjectChange[];
  readonly cidrs: { readonly added: readonly CidrChange[]; readonly removed: readonly CidrChange[] };
}
