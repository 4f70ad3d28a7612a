import type { ContactMedium } from './contact-graph.ts';
import type { WallConfiguration } from './wall.ts';

/** One end of a contact. A workload is named with its generation: a decision about one says nothing about the next. */
export type ContactEnd = { readonly kind: 'workload'; readonly workload: string; readonly epoch: number } | Place;

/** Something that keeps what is put there: a volume of ours, or a store outside (a network or service that no agent governs). */
export type Place =
  | { readonly kind: 'volume'; readonly name: string }
  | { readonly kind: 'store'; readonly name: string };

/**
 * What is asked of walls and what is told to them, as commands of the ledger. All fields are plain data. `segments` are those that
 * the subject is a *proven* member of; the ones that mark datasets or sanitizers count.
 */
export type WallCommand =
  | { readonly kind: 'configure'; readonly configuration: WallConfiguration }
  | StartCommand
  /** The workload's processes ended. Its writable layer is still there unless it is `gone`. */
  | { readonly kind: 'stop'; readonly workload: string; readonly gone: boolean }
  /** A volume or store is there, or is a member of other segments than before. */
  | { readonly kind: 'place'; readonly place: Place; readonly segments: readonly string[] }
  | { readonly kind: 'erase'; readonly place: Place }
  /** The present generation of a workload is a member of other segments than before. */
  | { readonly kind: 'relabel'; readonly workload: string; readonly segments: readonly string[] }
  | AdmitCommand
  /** The packet was released. */
  | { readonly kind: 'confirm'; readonly contact: string }
  /** No packet was released and none will be. */
  | { readonly kind: 'abort'; readonly contact: string }
  /** Somebody wants the contact to end. It counts until it is `closed`. */
  | { readonly kind: 'revoke'; readonly contact: string }
  /** Its kernel entry is revoked and that was acknowledged; of a mount: it is unmounted. */
  | { readonly kind: 'closed'; readonly contact: string }
  | BeginCommand
  | { readonly kind: 'bind'; readonly transaction: string; readonly role: string; readonly workload: string }
  | { readonly kind: 'end'; readonly transaction: string }
  /** Ends a transaction that expired: somebody has looked at what it did. */
  | { readonly kind: 'reconcile'; readonly transaction: string; readonly by: string }
  | OverrideCommand
  | { readonly kind: 'approve'; readonly override: string; readonly by: string }
  | { readonly kind: 'withdraw'; readonly override: string; readonly by: string }
  /** Splits components that were too expensive to split when a contact closed. Changes no admitted contact. */
  | { readonly kind: 'settle' };

/** A generation of a workload starts; the one before is over. */
export interface StartCommand {
  readonly kind: 'start';
  readonly workload: string;
  /** Higher than any before. */
  readonly epoch: number;
  readonly image: string;
  /** From a verified image, with no writable layer carried over: it remembers nothing. */
  readonly afresh: boolean;
  readonly segments: readonly string[];
  /** Contacts of the generation before that were kept open for this one. */
  readonly sessions: readonly string[];
  /** It happened already: a conflict is recorded as a breach instead of refusing. */
  readonly observed: boolean;
}

/** Asks for a contact. Admitted, it counts from this command on: reserved, until it is confirmed or aborted. */
export interface AdmitCommand {
  readonly kind: 'admit';
  /** Unique for ever, e.g. host, boot and number of the connection. Asking again with the same id changes nothing. */
  readonly contact: string;
  readonly medium: Exclude<ContactMedium, 'carry-over'>;
  readonly from: ContactEnd;
  readonly to: ContactEnd;
  /** Set by a keeper that attributes the connection to one transaction; otherwise it counts for all that the workload is bound in. */
  readonly transaction: string | null;
  readonly observed: boolean;
}

export interface BeginCommand {
  readonly kind: 'begin';
  readonly transaction: string;
  readonly wall: string;
  readonly roles: readonly (readonly [role: string, workloads: readonly string[]])[];
  readonly expiresAtMs: number;
}

/** Break-glass: lets contacts pass that only this conflict forbids, once two people approved. */
export interface OverrideCommand {
  readonly kind: 'override';
  readonly override: string;
  readonly wall: string;
  /** The two datasets, or roles. */
  readonly between: readonly [string, string];
  /** Only for contacts with one of these workloads; null: for all. */
  readonly workloads: readonly string[] | null;
  readonly because: string;
  readonly by: string;
  readonly expiresAtMs: number;
}

/** When a command is applied: from the ledger's entry, the same on every manager. */
export interface WallMoment {
  readonly revision: number;
  readonly atMs: number;
}

export type WallOutcome =
  | {
      readonly kind: 'admitted';
      /** It had been admitted before. */
      readonly already: boolean;
      /** Walls that it passes only because an end is a sanitizer of theirs: to be audited. */
      readonly exempt: readonly string[];
      /** Overrides without which it would have been refused. */
      readonly overrides: readonly string[];
    }
  | { readonly kind: 'refused'; readonly refusal: WallRefusal }
  /** Taken. Breaches are conflicts that stand now although no admit allowed them: an observed contact, new documents, new labels. */
  | { readonly kind: 'recorded'; readonly breaches: readonly WallConflict[] };

export type WallRefusal =
  | { readonly because: 'conflict'; readonly conflicts: readonly WallConflict[] }
  /** The workload is bound in a transaction that expired and that nobody reconciled. */
  | { readonly because: 'expired'; readonly transaction: string; readonly workload: string }
  /** Not the generation that runs now. */
  | { readonly because: 'stale-generation'; readonly workload: string; readonly epoch: number | null }
  | { readonly because: 'unknown'; readonly what: WallThing; readonly name: string }
  /** The name is taken by something else, or what is asked was done differently before. */
  | { readonly because: 'taken'; readonly what: WallThing; readonly name: string }
  /** What the command says does not fit together. */
  | { readonly because: 'improper'; readonly reason: string }
  | { readonly because: 'limit'; readonly limit: string; readonly max: number };

export type WallThing = 'subject' | 'contact' | 'transaction' | 'wall' | 'role' | 'override' | 'place';

/** Two names that must not meet, where they would meet, and how each came there. */
export interface WallConflict {
  readonly wall: string;
  /** In order. */
  readonly between: readonly [string, string];
  /** The transaction that it is about; null for walls over history. */
  readonly transaction: string | null;
  readonly chains: readonly [WallChain, WallChain];
}

/** How a subject came by a dataset or role: by the first contact, whose other end had it by the next, and so on to the origin. */
export interface WallChain {
  readonly subject: string;
  readonly name: string;
  /** Newest first. Empty where the subject bears the name by nature. */
  readonly steps: readonly WallChainStep[];
  /** False where older contacts are no longer known. */
  readonly whole: boolean;
}

export interface WallChainStep {
  readonly contact: string;
  readonly medium: ContactMedium;
  /** The ends as the contact had them. */
  readonly from: string;
  readonly to: string;
  /** The end that had the name already. */
  readonly source: string;
  readonly atMs: number;
  readonly revision: number;
  readonly overrides: readonly string[];
}

/** `workload/NAME@EPOCH`, `volume/NAME`, `store/NAME`. */
export function subjectName(end: ContactEnd): string {
  return end.kind === 'workload' ? generationName(end.workload, end.epoch) : `${end.kind}/${end.name}`;
}

export function generationName(workload: string, epoch: number): string {
  return `workload/${workload}@${epoch}`;
}
