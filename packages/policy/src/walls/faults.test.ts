/** The oracle is worth something only if it finds faults: each of these is put into a copy of the walls, and has to be found. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { seededRandom } from '../testing/generate.ts';
import { wallLimits } from './limits.ts';
import { playHistory, type WallsUnderTest } from './testing/random-history.ts';
import type { Walls } from './walls.ts';

const historiesMax = 60_000;
const stepsMax = 30;
const limits = { ...wallLimits, conflictsMax: 60 };

interface Fault {
  readonly name: string;
  readonly file: string;
  /** Stands there exactly once. */
  readonly from: string;
  readonly to: string;
}

const faults: readonly Fault[] = [
  {
    name: 'a history names the wrong end of a contact',
    file: 'contact-graph.ts',
    from: 'this.#gain(to, mark, this.#passedOn(contact, from, mark));',
    to: 'this.#gain(to, mark, { ...this.#passedOn(contact, from, mark), from: to.name });',
  },
  {
    name: 'what one end bears does not reach the other',
    file: 'contact-graph.ts',
    from: 'this.#take(a, b, contact, broughtToA);',
    to: '',
  },
  {
    name: 'it does not reach those behind the end',
    file: 'contact-graph.ts',
    from: '    this.#spread(to, brought);',
    to: '',
  },
  {
    name: 'a closed contact takes its taint along',
    file: 'contact-graph.ts',
    from: 'component.marks.set(mark, stamp === stillThere && inPart === 0 ? step : stamp);',
    to: 'if (inPart > 0) component.marks.set(mark, stamp);',
  },
  {
    name: 'a closed contact still joins',
    file: 'contact-graph.ts',
    from: "else if (part !== 'joined') detach(a.component, part, step);",
    to: '',
  },
  {
    name: 'one of two parallel contacts is closed, and both are over',
    file: 'contact-graph.ts',
    from: 'if (links.size > 0) return;',
    to: '',
  },
  {
    name: 'who parted from a dataset counts as still joined to it',
    file: 'contact-graph.ts',
    from: 'stamp === stillThere && inPart === 0 ? step : stamp',
    to: 'stamp',
  },
  {
    name: 'merging keeps the older stamp',
    file: 'contact-graph.ts',
    from: 'Math.max(stamp, large.marks.get(mark) ?? 0)',
    to: 'large.marks.get(mark) ?? stamp',
  },
  {
    name: 'only the end itself is compared, not what the other bears',
    file: 'conflicts.ts',
    from: 'for (const conflict of conflicts.across(first.marks, second.marks)) {',
    to: 'for (const conflict of [] as MarkConflict[]) {',
  },
  {
    name: 'a conflict that stands already is not seen',
    file: 'conflicts.ts',
    from: '  yield* conflicts.within(first.marks);',
    to: '',
  },
  {
    name: 'a restart forgets although it is not afresh',
    file: 'generations.ts',
    from: 'if (command.afresh || before === undefined) {',
    to: 'if (before !== undefined || before === undefined) {',
  },
  {
    name: 'a restart afresh remembers',
    file: 'generations.ts',
    from: 'if (command.afresh || before === undefined) {',
    to: 'if (before === undefined) {',
  },
  {
    name: 'kept sessions stay with the generation that is over',
    file: 'generations.ts',
    from: 'for (const contact of sessions) move(state, contact, before, subject);',
    to: '',
  },
  {
    name: 'kept sessions are not judged',
    file: 'generations.ts',
    from: 'if (ends !== null) bearers.push(bearerOf(contact.from === before ? ends[1] : ends[0]));',
    to: '',
  },
  {
    name: 'a generation that is over may go on',
    file: 'contacts.ts',
    from: 'if (subject !== undefined && subject === current && subject.running) return subject;',
    to: 'if (subject !== undefined) return subject;',
  },
  {
    name: 'a stopped generation is forgotten with its writable layer still there',
    file: 'contacts.ts',
    from: 'if (subject.generation !== null && state.generations.get(subject.generation.workload) === subject) return;',
    to: 'if (subject.generation !== null) state.generations.delete(subject.generation.workload);',
  },
  {
    name: 'a sanitizer passes on',
    file: 'contacts.ts',
    from: 'if (isExempt(state, domain, from.segments) || isExempt(state, domain, to.segments)) return;',
    to: '',
  },
  {
    name: 'a sanitizer of one wall is one of all',
    file: 'state.ts',
    from: 'if (!segments.some((segment) => domain.sanitizers.includes(segment))) return false;',
    to: "if (!segments.includes('dns')) return false;",
  },
  {
    name: 'a contact that was confirmed is aborted',
    file: 'walls.ts',
    from: "if (contact.state !== 'reserved')",
    to: "if (contact.state === 'revoking')",
  },
  {
    name: 'an id is used for another contact',
    file: 'contacts.ts',
    from: "if (!same) return refused({ because: 'taken', what: 'contact', name: command.contact });",
    to: '',
  },
  {
    name: 'roles outlive their transaction',
    file: 'transaction-commands.ts',
    from: '  state.transactions.remove(transaction);',
    to: '  if (transaction.roles.size > 9) state.transactions.remove(transaction);',
  },
  {
    name: 'an expired transaction goes on',
    file: 'contacts.ts',
    from: "if (expired !== null) return { because: 'expired', transaction: expired.id, workload: generation!.workload };",
    to: '',
  },
  {
    name: 'an expired transaction ends without anybody looking',
    file: 'transaction-commands.ts',
    from: 'if (expired && !reconciling)',
    to: 'if (expired && !reconciling && state.step < 0)',
  },
  {
    name: 'a new generation of a bound workload has no role',
    file: 'state.ts',
    from: 'for (const token of state.transactions.tokensOf(workload, domain.walls, part)) marks.add(token);',
    to: '',
  },
  {
    name: 'what was met and closed during a transaction does not count',
    file: 'conflicts.ts',
    from: 'if (mark < tokenFirst && stamp > beginStep) yield mark;',
    to: 'if (mark < tokenFirst && stamp > 1e9) yield mark;',
  },
  {
    name: 'what was met before a transaction counts',
    file: 'conflicts.ts',
    from: 'if (mark < tokenFirst && stamp > beginStep) yield mark;',
    to: 'if (mark < tokenFirst && stamp > 0) yield mark;',
  },
  {
    name: 'a transaction forgets what others of it have met',
    file: 'conflicts.ts',
    from: 'const touched = new Set(transaction.touched.keys());',
    to: 'const touched = new Set<Mark>();',
  },
  {
    name: 'a tag is not looked at',
    file: 'contacts.ts',
    from: '  const key = keyOf(state, command);',
    to: '  const key = null;',
  },
  {
    name: 'one approval is enough to break the glass',
    file: 'overrides.ts',
    from: 'if (approvals.length < approvalsNeeded ||',
    to: 'if (approvals.length < 1 ||',
  },
  {
    name: 'one person approves twice',
    file: 'overrides.ts',
    from: 'if (override.approvals.some((approval) => approval.by === by))',
    to: 'if (override.approvals.length > 5)',
  },
  {
    name: 'an override has no end',
    file: 'overrides.ts',
    from: 'withdrawn !== null || expiresAtMs <= nowMs) continue;',
    to: 'withdrawn !== null) continue;',
  },
  {
    name: 'a clock that is behind turns time back',
    file: 'state.ts',
    from: 'state.nowMs = Math.max(state.nowMs, moment.atMs);',
    to: 'state.nowMs = moment.atMs;',
  },
  {
    name: 'a snapshot loses live contacts',
    file: 'snapshot.ts',
    from: 'return ends === null ? [] : [[contact.facts.id, ends[0].name, ends[1].name] as const];',
    to: 'return ends === null || contact.facts.step % 2 === 0 ? [] : [[contact.facts.id, ends[0].name, ends[1].name] as const];',
  },
  {
    name: 'a snapshot loses when somebody parted from a dataset',
    file: 'snapshot.ts',
    from: '[mark, stamp === stillThere ? null : stamp] as const',
    to: '[mark, null] as const',
  },
];

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bulkhead-walls-'));
  await writeFile(join(directory, 'package.json'), '{"type": "module"}');
});
after(() => rm(directory, { recursive: true, force: true }));

/** The walls' own files, with the fault put in. */
async function copyWith(fault: Fault | null, name: string): Promise<WallsUnderTest<Walls>> {
  const target = join(directory, name);
  await mkdir(target);
  for (const file of await readdir(import.meta.dirname)) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts')) continue;
    let text = await readFile(join(import.meta.dirname, file), 'utf8');
    if (file === fault?.file) {
      assert.equal(text.split(fault.from).length, 2, `"${fault.from}" stands once in ${file}`);
      text = text.replace(fault.from, () => fault.to);
    }
    await writeFile(join(target, file), text);
  }
  const loaded = (await import(pathToFileURL(join(target, 'walls.ts')).href)) as typeof import('./walls.ts');
  return {
    empty: () => loaded.Walls.empty(limits),
    reopened: (walls) => loaded.Walls.restore(JSON.parse(JSON.stringify(walls.snapshot())), limits),
  };
}

/** Histories until the fault shows, as a difference or as a crash; null where it does not. */
function historiesUntilFound(walls: WallsUnderTest<Walls>, seed: number, most: number): number | null {
  const random = seededRandom(seed);
  for (let count = 1; count <= most; count++) {
    const numbers = Array.from({ length: 2 + random(stepsMax) }, () => random(2 ** 31));
    try {
      if (playHistory(walls, numbers) !== null) return count;
    } catch {
      return count;
    }
  }
  return null;
}

describe('the oracle finds', () => {
  for (const [index, fault] of faults.entries()) {
    test(fault.name, async (context) => {
      const found = historiesUntilFound(await copyWith(fault, `fault-${index}`), index, historiesMax);
      assert.notEqual(found, null, `not found in ${historiesMax} histories`);
      context.diagnostic(`after ${found} histories`);
    });
  }

  test('nothing in a copy without a fault', async () => {
    assert.equal(historiesUntilFound(await copyWith(null, 'whole'), 1, 2_000), null);
  });
});
