/**
 * What every ledger adapter must do, as tests. Called by each adapter's own test file with a way to open the same ledger again
 * (`reopen`) and a second handle on it (`open` twice).
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Ledger } from '../store/ledger.ts';

export interface LedgerUnderTest {
  /** Opens a handle on a fresh ledger named `name`; a second call with the same name opens the same one. */
  open(name: string): Promise<Ledger>;
}

const text = (value: string) => new TextEncoder().encode(value);
const read = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

export function ledgerContract(adapter: string, under: LedgerUnderTest): void {
  suite(`ledger contract: ${adapter}`, () => {
    test('starts empty and numbers batches from 1', async () => {
      await using ledger = await under.open('empty');
      assert.equal(await ledger.last(), 0);
      assert.deepEqual(await ledger.read(0, 10), { kind: 'entries', entries: [] });
      assert.equal(await ledger.snapshot(), null);
      assert.deepEqual(await ledger.append(0, text('a')), { kind: 'appended', sequence: 1 });
      assert.deepEqual(await ledger.append(1, text('b')), { kind: 'appended', sequence: 2 });
      const result = await ledger.read(0, 10);
      assert.ok(result.kind === 'entries');
      assert.deepEqual(
        result.entries.map((entry) => [entry.sequence, read(entry.batch)]),
        [
          [1, 'a'],
          [2, 'b'],
        ],
      );
    });

    test('a wrong expectation conflicts, says the end, writes nothing', async () => {
      await using ledger = await under.open('conflict');
      await ledger.append(0, text('a'));
      assert.deepEqual(await ledger.append(0, text('x')), { kind: 'conflict', sequence: 1 });
      assert.deepEqual(await ledger.append(5, text('x')), { kind: 'conflict', sequence: 1 });
      assert.equal(await ledger.last(), 1);
    });

    test('of many appends with one expectation exactly one wins, over two handles', async () => {
      await using first = await under.open('race');
      await using second = await under.open('race');
      for (let round = 0; round < 20; round += 1) {
        const results = await Promise.all(
          Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? first : second).append(round, text(`${round}.${i}`))),
        );
        assert.equal(results.filter((result) => result.kind === 'appended').length, 1);
      }
      assert.equal(await second.last(), 20);
    });

    test('writers that retry on conflict lose nothing and repeat nothing', async () => {
      await using first = await under.open('retry');
      await using second = await under.open('retry');
      const write = async (ledger: Ledger, name: string) => {
        for (let i = 0; i < 25; i += 1) {
          let end = await ledger.last();
          for (;;) {
            const result = await ledger.append(end, text(`${name}${i}`));
            if (result.kind === 'appended') break;
            end = result.sequence;
          }
        }
      };
      await Promise.all([write(first, 'a'), write(first, 'b'), write(second, 'c'), write(second, 'd')]);
      const all = await first.read(0, 1000);
      assert.ok(all.kind === 'entries');
      assert.equal(all.entries.length, 100);
      assert.equal(new Set(all.entries.map((entry) => read(entry.batch))).size, 100);
      for (const name of ['a', 'b', 'c', 'd']) {
        const own: readonly string[] = all.entries
          .map((entry) => read(entry.batch))
          .filter((batch) => batch.startsWith(name));
        assert.deepEqual(
          own,
          Array.from({ length: 25 }, (_, i) => `${name}${i}`),
          'a writer sees its own order',
        );
      }
    });

    test('pages by limit', async () => {
      await using ledger = await under.open('pages');
      for (let i = 0; i < 7; i += 1) await ledger.append(i, text(String(i)));
      const page = await ledger.read(2, 3);
      assert.deepEqual(page.kind === 'entries' && page.entries.map((entry) => entry.sequence), [3, 4, 5]);
    });

    test('is there after closing', async () => {
      {
        await using ledger = await under.open('durable');
        await ledger.append(0, text('a'));
      }
      await using again = await under.open('durable');
      assert.equal(await again.last(), 1);
      assert.deepEqual(await again.append(0, text('b')), { kind: 'conflict', sequence: 1 });
    });

    test('a snapshot stands for compacted batches, and the sequence goes on', async () => {
      {
        await using ledger = await under.open('snapshot');
        for (let i = 0; i < 5; i += 1) await ledger.append(i, text(String(i)));
        await ledger.saveSnapshot({ sequence: 5, data: text('state') }, 5);
        assert.deepEqual(await ledger.read(2, 10), { kind: 'compacted', horizon: 6 });
        assert.deepEqual(await ledger.read(5, 10), { kind: 'entries', entries: [] });
      }
      await using again = await under.open('snapshot');
      assert.equal(await again.last(), 5);
      assert.deepEqual(await again.append(5, text('5')), { kind: 'appended', sequence: 6 });
      const snapshot = await again.snapshot();
      assert.ok(snapshot !== null);
      assert.deepEqual([snapshot.sequence, read(snapshot.data)], [5, 'state']);
      await assert.rejects(again.saveSnapshot({ sequence: 9, data: text('future') }, 0));
    });

    test('a closed ledger refuses', async () => {
      const ledger = await under.open('closed');
      await ledger[Symbol.asyncDispose]();
      await assert.rejects(ledger.append(0, text('a')));
    });
  });
}
