import { chainSteps } from './conflicts.ts';
import { lostGain } from './contact-graph.ts';
import {
  type AdmitCommand,
  type WallChainStep,
  type WallCommand,
  type WallConflict,
  type WallMoment,
  type WallOutcome,
} from './commands.ts';
import { configure, standingBreaches } from './configure.ts';
import { admit, judgeAdmit, refused, removeContact } from './contacts.ts';
import { erase, place, relabel, start, stop } from './generations.ts';
import { type WallLimits, wallLimits } from './limits.ts';
import type { Override } from './overrides.ts';
import { restoreState, snapshotState, type WallSnapshot } from './snapshot.ts';
import { emptyWallState, type LiveContact, tick, type WallState } from './state.ts';
import { begin, bind, end } from './transaction-commands.ts';
import type { Transaction } from './transactions.ts';

/** A dataset that a subject has been in contact with, and how it came by it. */
export interface Taint {
  readonly dataset: string;
  /** Walls for which it counts. */
  readonly walls: readonly string[];
  /** The first contact that brought it, and back to its origin; empty where it is the subject's own. */
  readonly steps: readonly WallChainStep[];
  readonly whole: boolean;
}

/**
 * What has been in contact with what, and what may still be. Made only by applying commands in their order: the same commands give
 * the same answers and the same state everywhere. It has no clock; time comes with each command and never goes back.
 */
export class Walls {
  readonly #state: WallState;

  private constructor(state: WallState) {
    this.#state = state;
  }

  static empty(limits: WallLimits = wallLimits): Walls {
    return new Walls(emptyWallState(limits));
  }

  /** Goes on exactly where the snapshot was taken. */
  static restore(snapshot: WallSnapshot, limits: WallLimits = wallLimits): Walls {
    return new Walls(restoreState(snapshot, limits));
  }

  snapshot(): WallSnapshot {
    return snapshotState(this.#state);
  }

  /** Applies the next command. A refused one changes nothing that later answers depend on. */
  apply(command: WallCommand, moment: WallMoment): WallOutcome {
    tick(this.#state, moment);
    return applied(this.#state, command);
  }

  /** What `apply` would answer at the time of the latest command, changing nothing. Good for asking before people are bothered. */
  judge(command: AdmitCommand): WallOutcome {
    return judgeAdmit(this.#state, command);
  }

  /** What the subject (as in `subjectName`) has been in contact with; null where it is not known. */
  taint(subject: string): readonly Taint[] | null {
    const state = this.#state;
    if (!state.subjects.has(subject)) return null;
    const taints = new Map<string, Taint>();
    for (const { graph, walls, scope } of state.domains) {
      if (scope !== 'history') continue;
      const { component, gains } = graph.member(subject)!;
      for (const mark of component.marks.keys()) {
        const dataset = state.names.name(mark);
        const known = taints.get(dataset);
        const wallNames = [...(known?.walls ?? []), ...walls.keys()];
        taints.set(dataset, { ...(known ?? chainSteps(gains.get(mark) ?? lostGain)), dataset, walls: wallNames });
      }
    }
    return [...taints.values()].sort((a, b) => (a.dataset < b.dataset ? -1 : 1));
  }

  /** The newest generation of the workload, running or stopped, as a subject. */
  generation(workload: string): string | null {
    return this.#state.generations.get(workload)?.name ?? null;
  }

  contact(id: string): LiveContact | null {
    return this.#state.contacts.get(id) ?? null;
  }

  contacts(): IterableIterator<LiveContact> {
    return this.#state.contacts.values();
  }

  transactions(): IterableIterator<Transaction> {
    return this.#state.transactions.all();
  }

  overrides(): IterableIterator<Override> {
    return this.#state.overrides.all();
  }

  /** Conflicts that stand inside one component, by an override or as a breach. */
  breaches(): readonly WallConflict[] {
    return standingBreaches(this.#state);
  }

  sizes(): {
    readonly subjects: number;
    readonly contacts: number;
    readonly transactions: number;
    readonly domains: number;
  } {
    const { subjects, contacts, transactions, domains } = this.#state;
    return {
      subjects: subjects.size,
      contacts: contacts.size,
      transactions: transactions.size,
      domains: domains.length,
    };
  }
}

const done: WallOutcome = { kind: 'recorded', breaches: [] };

function applied(state: WallState, command: WallCommand): WallOutcome {
  switch (command.kind) {
    case 'configure':
      return configure(state, command.configuration);
    case 'start':
      return start(state, command);
    case 'stop':
      return stop(state, command.workload, command.gone);
    case 'place':
      return place(state, command.place, command.segments);
    case 'erase':
      return erase(state, command.place);
    case 'relabel': {
      const subject = state.generations.get(command.workload);
      if (subject === undefined) return refused({ because: 'unknown', what: 'subject', name: command.workload });
      return relabel(state, subject, command.segments);
    }
    case 'admit':
      return admit(state, command);
    case 'confirm':
    case 'revoke':
    case 'abort':
    case 'closed':
      return contactChange(state, command.kind, command.contact);
    case 'begin':
      return begin(state, command);
    case 'bind':
      return bind(state, command.transaction, command.role, command.workload);
    case 'end':
    case 'reconcile':
      return end(state, command.transaction, command.kind === 'reconcile');
    case 'override': {
      const refusal = state.overrides.ask(command, state.nowMs);
      return refusal === null ? done : refused(refusal);
    }
    case 'approve':
    case 'withdraw': {
      const refusal = state.overrides[command.kind](command.override, command.by, state.nowMs);
      return refusal === null ? done : refused(refusal);
    }
    case 'settle':
      for (const { graph } of state.domains) graph.settle(state.step);
      return done;
  }
}

/** Told twice, the second time is refused as unknown where the contact is over, which whoever repeats may take for done. */
function contactChange(state: WallState, change: 'confirm' | 'revoke' | 'abort' | 'closed', id: string): WallOutcome {
  const contact = state.contacts.get(id);
  if (contact === undefined) return refused({ because: 'unknown', what: 'contact', name: id });
  switch (change) {
    case 'confirm':
      if (contact.state === 'reserved') state.contacts.set(id, { ...contact, state: 'live' });
      return done;
    case 'revoke':
      state.contacts.set(id, { ...contact, state: 'revoking' });
      return done;
    case 'abort':
      if (contact.state !== 'reserved')
        return refused({ because: 'improper', reason: `contact ${id} was confirmed: it can only be closed` });
      removeContact(state, contact);
      return done;
    case 'closed':
      removeContact(state, contact);
      return done;
  }
}
