/** Full tables: what does not fit is refused whole, and nothing that was there is lost. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { cidrText, parseCidr } from '../address.ts';
import { KernelError, type Kernel, type PortRoot, type Row } from '../port.ts';
import type { ContractOptions, KernelFactory, KernelUnderTest } from './contract.ts';
import { allow, always, deny } from './samples.ts';

const isFull = (error: unknown): boolean => error instanceof KernelError && error.code === 'full';

export function describeCapacity(factory: KernelFactory, options: ContractOptions): void {
  describe('capacity', () => {
    let under: KernelUnderTest;
    let kernel: Kernel;
    before(async () => {
      under = await factory();
      kernel = under.kernel;
      kernel.programs.load();
    });
    after(async () => {
      kernel.programs.unload();
      await under.dispose();
    });

    if (options.fillable.includes('cidrs'))
      test('a full table refuses the whole batch', () => {
        const text = (index: number): string =>
          cidrText(parseCidr(`${10 + (index >>> 16)}.${(index >>> 8) & 255}.${index & 255}.0/24`));
        const { cidrsMax } = kernel.maps.limits;
        kernel.maps.setCidrs(Array.from({ length: cidrsMax - 1 }, (_, index) => ({ cidr: text(index), peer: 5 })));
        const changed = [
          { cidr: text(0), peer: 6 },
          { cidr: text(cidrsMax), peer: 6 },
          { cidr: text(cidrsMax + 1), peer: 6 },
        ];
        assert.throws(() => kernel.maps.setCidrs(changed), isFull);
        const now = kernel.maps.cidrs();
        assert.equal(now.length, cidrsMax - 1);
        assert.ok(now.every((entry) => entry.peer === 5));
        kernel.maps.setCidrs(changed.slice(0, 2));
        assert.equal(kernel.maps.cidrs().length, cidrsMax);
        kernel.maps.removeCidrs(kernel.maps.cidrs().map((entry) => entry.cidr));
        assert.deepEqual(kernel.maps.cidrs(), []);
      });

    if (options.fillable.includes('rows'))
      test('rows that do not fit are refused as a whole', () => {
        const { rowsMax } = kernel.maps.limits;
        const root = kernel.maps.addPortTable(always(allow));
        const other = kernel.maps.addPortTable(always(deny));
        const row = (peer: number, at: PortRoot): Row => ({ ruleset: 1, direction: 'egress', peer, root: at });
        kernel.maps.setRows(Array.from({ length: rowsMax - 1 }, (_, index) => row(index, root)));
        assert.throws(() => kernel.maps.setRows([row(0, other), row(rowsMax, root), row(rowsMax + 1, root)]), isFull);
        assert.equal(kernel.maps.rows().length, rowsMax - 1);
        assert.equal(kernel.maps.row(row(0, root)), root);
        kernel.maps.removeRows(kernel.maps.rows());
      });

    if (options.fillable.includes('portNodes'))
      test('a port table that does not fit leaves nothing behind', () => {
        const roots: PortRoot[] = [];
        const table = (index: number) => ({
          otherwise: deny,
          ranges: Array.from({ length: 30_000 }, (_, at) => ({
            protocol: 6,
            from: at * 2,
            to: at * 2,
            verdict: { action: 'allow', rule: index } as const,
          })),
        });
        const fill = (): void => {
          for (let index = 0; index <= kernel.maps.limits.portNodesMax; index++)
            roots.push(kernel.maps.addPortTable(table(index)));
        };
        assert.throws(fill, isFull);
        assert.deepEqual(kernel.maps.portTable(roots[0]!), table(0));
        kernel.maps.releasePortTable(roots.pop()!);
        // The room of one is exactly the room of one more of its size, once packets cannot see the old one.
        roots.push(kernel.maps.addPortTable(table(2 ** 20)));
        assert.throws(() => kernel.maps.addPortTable(table(2 ** 20 + 1)), isFull);
        for (const root of roots) kernel.maps.releasePortTable(root);
      });
  });
}
