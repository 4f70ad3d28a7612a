/** Failures by seed: the operations of a simulated kernel fail with the errors that a real one has. */
import { KernelError } from '../port.ts';

/** Kinds of operations that can be made to fail on their own. */
export type OperationKind = 'maps' | 'programs' | 'links' | 'routes' | 'punt';

export interface FailureOptions {
  /** Uniform in [0, 1): from a seed, so that a run can be repeated. */
  readonly random: () => number;
  /** Probability that an operation of the kind fails without doing anything. Kinds that are absent never fail. */
  readonly probability: Partial<Record<OperationKind, number>>;
  /** Probability that an operation on routes finds one more veth gone, as when a container dies. */
  readonly vanishing?: number;
}

const codes: Readonly<Record<OperationKind, readonly string[]>> = {
  maps: ['ENOMEM', 'EBUSY', 'EINTR'],
  programs: ['ENOMEM', 'EAGAIN'],
  links: ['ENODEV', 'ENOMEM', 'EBUSY'],
  routes: ['ENODEV', 'EBUSY', 'ENOMEM', 'ETIMEDOUT'],
  punt: ['EIO', 'ENOMEM'],
};

export class Failures {
  readonly #options: FailureOptions | null;
  constructor(options: FailureOptions | null) {
    this.#options = options;
  }

  /** Throws, or returns and the operation goes on. */
  meet(kind: OperationKind, operation: string): void {
    const probability = this.#options?.probability[kind] ?? 0;
    if (this.#options === null || probability === 0 || this.#options.random() >= probability) return;
    const among = codes[kind];
    const code = among[Math.floor(this.#options.random() * among.length)]!;
    throw new KernelError(operation, code, { detail: 'injected' });
  }

  /** The place among `count` of what vanishes now, or null. */
  vanishing(count: number): number | null {
    const probability = this.#options?.vanishing ?? 0;
    if (this.#options === null || probability === 0 || count === 0 || this.#options.random() >= probability)
      return null;
    return Math.floor(this.#options.random() * count);
  }
}
