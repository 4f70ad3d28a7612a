import {
  type CidrPeer,
  type CompiledSubject,
  type Direction,
  type IdentityId,
  identityFirst,
  identityMax,
  type Labels,
  type PeerId,
  type PortTable,
  reservedIdentity,
} from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import type { LearntMove } from './learnt.ts';

/** What changed for the compiler. Everything in one change takes effect together. */
export interface CompilerChange {
  /** All documents as they are now. */
  readonly policySet?: PolicySet;
  readonly identities?: {
    /** New identities, and known ones with other labels. */
    readonly set?: Iterable<readonly [IdentityId, Labels]>;
    /** An identity that is a subject stops being one. What is both removed and set is set. */
    readonly removed?: Iterable<IdentityId>;
  };
  /** What is known of this machine: the facts about it, and what its agent was told to say. */
  readonly host?: Labels;
  /** The identities for which tables are wanted; each must be known, or be `reservedIdentity.unknown` or `reservedIdentity.host`. */
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

/** `added` starts from nothing, also where a subject was removed and added in one change. */
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

/** A change with everything that was left out filled in. */
export interface CheckedChange {
  readonly policySet: PolicySet | null;
  readonly host: Labels | null;
  readonly identitiesSet: ReadonlyMap<IdentityId, Labels>;
  readonly identitiesRemoved: readonly IdentityId[];
  readonly subjectsAdded: readonly IdentityId[];
  readonly subjectsRemoved: readonly IdentityId[];
}

/** Finds a wrong caller before anything is changed: throws where a number is no identity's or a subject is not known. */
export function checkedChange(change: CompilerChange, isKnown: (identity: IdentityId) => boolean): CheckedChange {
  const identitiesSet = new Map(change.identities?.set);
  for (const identity of identitiesSet.keys()) {
    if (identity < identityFirst || identity > identityMax) throw new Error(`${identity} is the number of no identity`);
  }
  const identitiesRemoved = [...(change.identities?.removed ?? [])].filter((identity) => !identitiesSet.has(identity));
  const gone = new Set(identitiesRemoved);
  const subjectsAdded = [...(change.subjects?.added ?? [])];
  for (const identity of subjectsAdded) {
    const known = identitiesSet.has(identity) || (isKnown(identity) && !gone.has(identity));
    if (known || subjectsWithoutIdentity.includes(identity)) continue;
    throw new Error(`identity ${identity} is to be a subject and is not known`);
  }
  const subjectsRemoved = [...(change.subjects?.removed ?? [])];
  const { policySet = null, host = null } = change;
  return { policySet, host, identitiesSet, identitiesRemoved, subjectsAdded, subjectsRemoved };
}

const subjectsWithoutIdentity: readonly number[] = [reservedIdentity.unknown, reservedIdentity.host];

/**
 * What the tables became. To write it without a moment in which an address has a wider verdict than before and after:
 *
 * 0. Take the addresses of identities that are gone out of the kernel.
 * 1. For each of `cidrs.added`, in each ruleset in force: copy the row of `covering`, where there is one, to `peer`. For each of
 *    `learnt`: the row of `from` to `learnt.peer`.
 * 2. Write the prefixes of `cidrs.added`, and the addresses of `learnt` for those who learnt them.
 * 3. Write the new rows: in place where `flip` is false, else as a fresh ruleset and flip to it. A fresh ruleset gets for each of
 *    `cidrs.removed` a copy of the row of `covering` too.
 *    Rows of `cidrs.removed` stay until 4.
 * 4. Remove the prefixes of `cidrs.removed`, then their rows. Only now tell the kernel addresses of identities that are new.
 *
 * An identity must not stand behind an address in the kernel before the update that knows it is written: until then its packets
 * would be judged by `others`.
 */
export interface CompilerUpdate {
  readonly subjects: readonly SubjectChange[];
  readonly cidrs: { readonly added: readonly CidrChange[]; readonly removed: readonly CidrChange[] };
  /** Addresses that had been learnt by name before, and are another peer now. */
  readonly learnt: readonly LearntMove[];
}
