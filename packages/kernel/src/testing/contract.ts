/**
 * What both adapters must do, as one suite: it is run against the simulated kernel and against Linux. A setting is idempotent, can be
 * read back, and either takes effect whole or fails with a KernelError and changes nothing.
 */
import { describe } from 'node:test';
import type { Kernel } from '../port.ts';
import { describeCapacity } from './capacity.ts';
import { describeJudgingAgain } from './judging-again.ts';
import { describeJudging } from './judging.ts';
import { describeNetwork } from './network.ts';
import { describeTables } from './tables.ts';

export interface KernelUnderTest {
  readonly kernel: Kernel;
  /** Ends the agent's hold and opens the same machine again, not loaded. */
  reopen(): Promise<Kernel>;
  dispose(): Promise<void>;
}

export interface ContractOptions {
  /** Tables that are small enough to be filled. */
  readonly fillable: readonly ('cidrs' | 'rows' | 'portNodes')[];
  /** Runs of each property. */
  readonly runs: number;
}

/** A machine on which nothing of ours is loaded. */
export type KernelFactory = () => Promise<KernelUnderTest>;

export function describeKernel(name: string, factory: KernelFactory, options: ContractOptions): void {
  describe(name, () => {
    describeTables(factory, options);
    if (options.fillable.length > 0) describeCapacity(factory, options);
    describeJudging(factory, options);
    describeJudgingAgain(factory);
    describeNetwork(factory);
  });
}
