import { type Gain, type Mark, tokenFirst } from './contact-graph.ts';

export interface Transaction {
  readonly id: string;
  /** Distinct also from that of an earlier transaction with this id. */
  readonly key: string;
  readonly wall: string;
  readonly beginStep: number;
  readonly begunAtMs: number;
  readonly expiresAtMs: number;
  /** Workloads by role; they stay bound over restarts. */
  readonly roles: Map<string, Set<string>>;
  /** The mark that the workloads of a role bear, and whoever they have been in contact with since. */
  readonly tokens: Map<string, Mark>;
  /** Datasets that it has been in contact with, and how who was the first of its subjects to be. */
  readonly touched: Map<Mark, Touch>;
  /** Subjects that have a part of their own for it, since a contact of theirs was attributed to it. */
  readonly parts: Set<string>;
}

export interface Touch {
  readonly subject: string;
  readonly gain: Gain;
}

export interface Token {
  readonly transaction: Transaction;
  readonly role: string;
}

/** The transactions that have begun and not ended, and who is bound in them. */
export class Transactions {
  readonly #open = new Map<string, Transaction>();
  readonly #byKey = new Map<string, Transaction>();
  readonly #tokens = new Map<Mark, Token>();
  readonly #boundIn = new Map<string, Set<Transaction>>();
  #tokensMade: number;

  constructor(tokensMade = 0) {
    this.#tokensMade = tokensMade;
  }

  get size(): number {
    return this.#open.size;
  }

  get tokensMade(): number {
    return this.#tokensMade;
  }

  all(): IterableIterator<Transaction> {
    return this.#open.values();
  }

  get(id: string): Transaction | undefined {
    return this.#open.get(id);
  }

  /** Undefined where it has ended. */
  byKey(key: string): Transaction | undefined {
    return this.#byKey.get(key);
  }

  token(mark: Mark): Token | undefined {
    return this.#tokens.get(mark);
  }

  /** Takes in one that has no workloads yet, or one that is restored, with them. */
  add(transaction: Transaction): void {
    this.#open.set(transaction.id, transaction);
    this.#byKey.set(transaction.key, transaction);
    for (const [role, mark] of transaction.tokens) this.#tokens.set(mark, { transaction, role });
    for (const workloads of transaction.roles.values())
      for (const workload of workloads) this.#note(transaction, workload);
  }

  /** Gives the token that the workload bears from now on. */
  bind(transaction: Transaction, role: string, workload: string): Mark {
    let mark = transaction.tokens.get(role);
    if (mark === undefined) {
      mark = tokenFirst + this.#tokensMade++;
      transaction.tokens.set(role, mark);
      transaction.roles.set(role, new Set());
      this.#tokens.set(mark, { transaction, role });
    }
    transaction.roles.get(role)!.add(workload);
    this.#note(transaction, workload);
    return mark;
  }

  #note(transaction: Transaction, workload: string): void {
    let bound = this.#boundIn.get(workload);
    if (bound === undefined) this.#boundIn.set(workload, (bound = new Set()));
    bound.add(transaction);
  }

  remove(transaction: Transaction): void {
    this.#open.delete(transaction.id);
    this.#byKey.delete(transaction.key);
    for (const mark of transaction.tokens.values()) this.#tokens.delete(mark);
    for (const workloads of transaction.roles.values()) {
      for (const workload of workloads) {
        const bound = this.#boundIn.get(workload);
        bound?.delete(transaction);
        if (bound?.size === 0) this.#boundIn.delete(workload);
      }
    }
  }

  /** Takes back a binding that was refused. */
  unbind(transaction: Transaction, role: string, workload: string): void {
    transaction.roles.get(role)?.delete(workload);
    if (isBound(transaction, workload)) return;
    const bound = this.#boundIn.get(workload);
    bound?.delete(transaction);
    if (bound?.size === 0) this.#boundIn.delete(workload);
  }

  boundIn(workload: string): Iterable<Transaction> {
    return this.#boundIn.get(workload) ?? [];
  }

  /** The tokens that the workload's present generation bears for transactions of these walls, or for the one with that key alone. */
  *tokensOf(workload: string, walls: { has(name: string): boolean }, only: string | null): Generator<Mark> {
    for (const transaction of this.boundIn(workload)) {
      if (!walls.has(transaction.wall) || (only !== null && transaction.key !== only)) continue;
      for (const [role, workloads] of transaction.roles)
        if (workloads.has(workload)) yield transaction.tokens.get(role)!;
    }
  }

  /** One that the workload is bound in, that expired and that nobody reconciled. */
  expired(workload: string, nowMs: number): Transaction | null {
    for (const transaction of this.boundIn(workload)) if (transaction.expiresAtMs <= nowMs) return transaction;
    return null;
  }
}

export function isBound({ roles }: Transaction, workload: string): boolean {
  for (const workloads of roles.values()) if (workloads.has(workload)) return true;
  return false;
}

export function transactionKey(id: string, beginStep: number): string {
  return `${id}~${beginStep}`;
}

export function idOfKey(key: string): string {
  return key.slice(0, key.lastIndexOf('~'));
}
