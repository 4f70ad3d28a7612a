/** The contract of the kernel port against Linux, in a network namespace of its own, by each way of attaching programs. */
import { rmSync } from 'node:fs';
import process from 'node:process';
import { describe } from 'node:test';
import { openLinuxKernel, type LinuxKernelOptions } from '../../../packages/kernel/src/linux/kernel.ts';
import { describeKernel, type KernelFactory } from '../../../packages/kernel/src/testing/contract.ts';
import { enterOwnNamespace } from './own-namespace.ts';

enterOwnNamespace();
let opened = 0;

function factory(mechanism: NonNullable<LinuxKernelOptions['mechanism']>): KernelFactory {
  return async () => {
    opened += 1;
    const pinRoot = `/sys/fs/bpf/bhB-${process.pid}-${opened}`;
    let kernel = openLinuxKernel({ pinRoot, mechanism });
    return {
      kernel,
      reopen: async () => {
        await kernel[Symbol.asyncDispose]();
        kernel = openLinuxKernel({ pinRoot, mechanism });
        return kernel;
      },
      dispose: async () => {
        await kernel[Symbol.asyncDispose]();
        rmSync(pinRoot, { recursive: true, force: true });
      },
    };
  };
}

// The least kernel has no tcx: there clsact is all there is.
const mechanisms =
  openLinuxKernel({ pinRoot: '/sys/fs/bpf/bhB-none' }).mechanism === 'tcx'
    ? (['tcx', 'clsact'] as const)
    : (['clsact'] as const);
describe('Linux', () => {
  for (const [index, mechanism] of mechanisms.entries()) {
    const options = index === 0 ? { fillable: ['cidrs', 'portNodes'] as const, runs: 60 } : { fillable: [], runs: 5 };
    describeKernel(`through ${mechanism}`, factory(mechanism), options);
  }
});
