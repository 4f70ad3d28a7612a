import { describe } from 'node:test';
import { describeKernel } from '../testing/contract.ts';
import { createSimulatedMachine } from './machine.ts';

describe('simulated', () => {
  describeKernel(
    'the simulated kernel',
    async () => {
      let nowNs = 1_000_000_000n;
      const machine = createSimulatedMachine({
        nowNs: () => (nowNs += 1000n),
        random: () => 0.5,
        limits: { cidrsMax: 300, rowsMax: 400, portNodesMax: 9000 },
      });
      return { kernel: machine.open(), reopen: async () => machine.open(), dispose: async () => machine.crash() };
    },
    { fillable: ['cidrs', 'rows', 'portNodes'], runs: 100 },
  );
});
