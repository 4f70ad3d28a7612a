import type { ContactEnd, WallCommand, WallConflict, WallOutcome } from '../commands.ts';
import type { Taint } from '../walls.ts';
import { conflictList, expectedOutcome } from './expected-outcome.ts';
import { HistoryOracle, transactionsOfHistoryMax } from './history-oracle.ts';
import {
  configurationOf,
  isOf,
  nameBit,
  names,
  oracleWalls,
  places,
  wallRules,
  segmentOfPlace,
  wallSets,
  workloads,
} from './wall-world.ts';

/** What is held against the oracle: the walls, or a copy of them with a fault put in. */
export interface JudgedWalls {
  apply(command: WallCommand, moment: { readonly revision: number; readonly atMs: number }): WallOutcome;
  taint(subject: string): readonly Taint[] | null;
}

export interface WallsUnderTest<Judged extends JudgedWalls> {
  empty(): Judged;
  /** The same walls after a restart of whoever holds them. */
  reopened(walls: Judged): Judged;
}

/** A difference between walls and oracle, as a message; null where they agree all the way. */
export type HistoryVerdict = { readonly step: number; readonly message: string } | null;

/**
 * Plays one history, given as numbers of which each is one step, on the walls and on the oracle. Every answer is compared, and at the
 * end what everybody has been in contact with. Every list of numbers is a history, so that lists can be shrunk.
 */
export function playHistory<Judged extends JudgedWalls>(
  under: WallsUnderTest<Judged>,
  numbers: readonly number[],
  told?: (line: string) => void,
): HistoryVerdict {
  const history = new History(numbers[0] ?? 0);
  let walls = under.empty();
  const moment = { revision: 1, atMs: 0 };
  for (const command of history.opening()) walls.apply(command, moment);
  for (const [step, number] of numbers.slice(1).entries()) {
    const turn = history.turn(number);
    if (turn.kind === 'reopen') {
      told?.(`${step}: (reopened)`);
      walls = under.reopened(walls);
      continue;
    }
    const { command, atMs } = turn;
    const outcome = outcomeText(walls.apply(command, { revision: 1, atMs }));
    const expected = history.expected(command);
    told?.(`${step}: at ${atMs} ${JSON.stringify(command)} gives ${outcome}`);
    if (outcome !== expected)
      return { step, message: `${JSON.stringify(command)} gives ${outcome}, expected ${expected}` };
  }
  for (const being of history.oracle.beings) {
    const known = history.oracle.known(being);
    const expected = names.filter((name) => (known & nameBit(name)) !== 0).join();
    const taints = walls.taint(being.label) ?? [];
    const found = taints.map(({ dataset }) => dataset).join();
    if (found !== expected)
      return { step: numbers.length, message: `${being.label} bears ${found}, expected ${expected}` };
    for (const taint of taints) {
      const fault = chainFault(history.oracle, being.label, taint);
      if (fault !== null) return { step: numbers.length, message: `${fault}: ${being.label} ${JSON.stringify(taint)}` };
    }
  }
  return null;
}

/** What is wrong with the history of a taint: it has to lead from contact to contact to somebody who was the dataset by nature. */
function chainFault(oracle: HistoryOracle, subject: string, { dataset, steps, whole }: Taint): string | null {
  if (!whole) return 'the history is cut off';
  let at = subject;
  for (const step of steps) {
    if (step.from !== at && step.to !== at) return `the contact ${step.contact} is none of ${at}`;
    if (step.source !== (step.from === at ? step.to : step.from)) return `${step.source} is not the other end`;
    at = step.source;
  }
  return oracle.everWas(at, nameBit(dataset)) ? null : `${at} never was ${dataset}`;
}

type Turn =
  | { readonly kind: 'reopen' }
  | { readonly kind: 'command'; readonly command: WallCommand; readonly atMs: number };

const people = ['eve', 'adam', 'noah'] as const;

class History {
  readonly oracle: HistoryOracle;
  readonly #opening: readonly WallCommand[];
  readonly #kinds: readonly Kind[];
  #walls: readonly string[];
  #contacts = 0;
  #transactions = 0;
  #overrides = 0;
  #atMs = 0;
  #bits = 0;

  constructor(seed: number) {
    this.#walls = wallSets[seed % wallSets.length]!;
    this.#kinds = themes[Math.floor(seed / wallSets.length) % themes.length]!;
    this.oracle = new HistoryOracle(oracleWalls(this.#walls));
    const opening: WallCommand[] = [{ kind: 'configure', configuration: configurationOf(this.#walls) }];
    for (const what of places) {
      opening.push({ kind: 'place', place: placeOf(what), segments: segmentsOf(what) });
      this.oracle.born(what, what, isOf(segmentsOf(what)));
    }
    for (const workload of workloads) {
      opening.push(startOf(workload, 1, true, workload === 'dns' ? ['dns'] : [], []));
      this.oracle.born(`workload/${workload}@1`, workload, 0);
    }
    this.oracle.pass();
    this.#opening = opening;
  }

  opening(): readonly WallCommand[] {
    return this.#opening;
  }

  /** Draws from the bits of the step's number. */
  #draw<T>(from: readonly T[]): T {
    const index = this.#bits % from.length;
    this.#bits = Math.floor(this.#bits / from.length);
    return from[index]!;
  }

  turn(number: number): Turn {
    this.#bits = number;
    const kind = this.#draw(this.#kinds);
    // To reopen takes longer than all else together.
    if (kind === 'reopen' && this.#draw([true, false, false, false])) return { kind };
    const command = this.#command(kind);
    if (kind === 'wait') this.#atMs += 40;
    // Commands come from several clocks, of which one is behind.
    const atMs = Math.max(0, this.#atMs - (number % 5 === 0 ? 50 : 0));
    this.oracle.nowMs = Math.max(this.oracle.nowMs, atMs);
    return { kind: 'command', command, atMs };
  }

  #command(kind: Kind): WallCommand {
    switch (kind) {
      case 'admit':
      case 'observe':
        return this.#admit(kind === 'observe');
      case 'again':
        return { ...this.#admit(false), contact: this.#someContact() };
      case 'close':
        return { kind: this.#draw(['closed', 'closed', 'abort', 'confirm', 'revoke']), contact: this.#someContact() };
      case 'restart': {
        const workload = this.#draw(workloads);
        const epoch = Number(this.oracle.newest.get(workload)?.label.split('@')[1] ?? 0) + this.#draw([1, 1, 1, 0]);
        const own = this.oracle.contacts.filter(({ ends }) => ends.some(({ what }) => what === workload));
        const kept = this.#draw([true, false]) ? [own.length === 0 ? this.#someContact() : this.#draw(own).id] : [];
        const segments = workload === 'dns' ? ['dns'] : this.#draw([[], [], ['sa']]);
        return startOf(workload, Math.max(1, epoch), this.#draw([true, false]), segments, kept);
      }
      case 'stop':
        return { kind: 'stop', workload: this.#draw(workloads), gone: this.#draw([true, false]) };
      case 'erase':
        return { kind: 'erase', place: placeOf(this.#draw(places)) };
      case 'place': {
        const what = this.#draw(places);
        return { kind: 'place', place: placeOf(what), segments: segmentsOf(what) };
      }
      case 'relabel':
        return {
          kind: 'relabel',
          workload: this.#draw(workloads.slice(0, 4)),
          segments: this.#draw([[], ['sd'], ['sa'], ['other']]),
        };
      case 'configure': {
        const extra = this.#walls.includes('extra');
        this.#walls = extra ? this.#walls.filter((name) => name !== 'extra') : [...this.#walls, 'extra'];
        return { kind: 'configure', configuration: configurationOf(this.#walls) };
      }
      case 'begin':
        return this.#begin();
      case 'bind':
        return {
          kind: 'bind',
          transaction: this.#someTransaction(),
          role: this.#draw(names),
          workload: this.#draw(workloads),
        };
      case 'end':
        return this.#draw([true, false])
          ? { kind: 'end', transaction: this.#someTransaction() }
          : { kind: 'reconcile', transaction: this.#someTransaction(), by: 'eve' };
      case 'override': {
        const wall = this.#draw(this.#walls);
        const between = this.#draw(wallRules[wall]!.pairs);
        const workloads = this.#draw([null, ['w0'], ['w1']]);
        const override = `o${this.#overrides++}`;
        const expiresAtMs = this.#atMs + this.#draw([60, 1_000]);
        return { kind: 'override', override, wall, between, workloads, because: 'a test', by: 'eve', expiresAtMs };
      }
      case 'approve': {
        const override = `o${Math.max(0, this.#overrides - this.#draw([1, 1, 1, 2]))}`;
        const kind = this.#draw(['approve', 'approve', 'approve', 'approve', 'approve', 'withdraw'] as const);
        return { kind, override, by: this.#draw(people) };
      }
      case 'wait':
      case 'reopen':
        return { kind: 'settle' };
    }
  }

  #admit(observed: boolean): WallCommand & { kind: 'admit' } {
    const from = this.#end(this.#draw(workloads));
    const to = this.#end(this.#draw([...places, ...places, ...workloads]));
    const open = [...this.oracle.transactions.keys()];
    const transaction = this.#draw([null, open.length === 0 ? null : this.#draw(open)]);
    return { kind: 'admit', contact: `c${this.#contacts++}`, medium: 'connection', from, to, transaction, observed };
  }

  #end(what: string): ContactEnd {
    if (what.includes('/')) return placeOf(what);
    const epoch = Number(this.oracle.newest.get(what)?.label.split('@')[1] ?? 1);
    return { kind: 'workload', workload: what, epoch: Math.max(1, epoch - this.#draw([0, 0, 0, 0, 0, 0, 0, 1])) };
  }

  #begin(): WallCommand {
    if (this.oracle.transactionsBegun >= transactionsOfHistoryMax) return { kind: 'settle' };
    const wall = this.#draw(['apart', 'never', 'both', 'apart', 'never', 'strict']);
    const [first, second] = [this.#draw(workloads), this.#draw(workloads)];
    const roles = this.#draw([
      ['a', 'b'],
      ['b', 'c'],
      ['a', 'd'],
    ] as const);
    // Ids are used again after a while.
    const transaction = `t${this.#transactions++ % 2}`;
    return {
      kind: 'begin',
      transaction,
      wall,
      roles: [
        [roles[0], [first]],
        [roles[1], [second]],
      ],
      expiresAtMs: this.#atMs + this.#draw([60, 1_000, 0]),
    };
  }

  #someContact(): string {
    const back = this.#draw([1, 2, 3, 4, 5]);
    return `c${Math.max(0, this.#contacts - back)}`;
  }

  #someTransaction(): string {
    return this.#draw(['t0', 't1']);
  }

  /** The oracle's answer. What it takes becomes part of its history. */
  expected(command: WallCommand): string {
    const answer = expectedOutcome(this.oracle, command);
    this.oracle.pass();
    return answer;
  }
}

/** Kinds of steps, each as often as it is to come up; the first is a bit of everything, the others look closer at something. */
const everything: readonly Kind[] = [
  ...Array<Kind>(14).fill('admit'),
  ...Array<Kind>(7).fill('close'),
  ...Array<Kind>(3).fill('restart'),
  ...(['begin', 'begin', 'wait', 'wait', 'bind', 'end', 'override', 'approve', 'approve', 'observe'] as const),
  ...(['again', 'stop', 'erase', 'place', 'relabel', 'configure', 'reopen'] as const),
];
const themes: readonly (readonly Kind[])[] = [
  everything,
  ['admit', 'admit', 'admit', 'admit', 'close', 'close', 'close', 'restart', 'restart', 'restart', 'observe', 'reopen'],
  ['begin', 'begin', 'bind', 'end', 'admit', 'admit', 'admit', 'admit', 'close', 'close', 'restart', 'wait', 'reopen'],
  [
    'override',
    'approve',
    'approve',
    'approve',
    'admit',
    'admit',
    'admit',
    'admit',
    'observe',
    'wait',
    'close',
    'begin',
  ],
];

type Kind =
  | 'admit'
  | 'observe'
  | 'again'
  | 'close'
  | 'restart'
  | 'stop'
  | 'erase'
  | 'place'
  | 'relabel'
  | 'configure'
  | 'begin'
  | 'bind'
  | 'end'
  | 'override'
  | 'approve'
  | 'wait'
  | 'reopen';

function placeOf(what: string): ContactEnd & { kind: 'volume' | 'store' } {
  const [kind, name] = what.split('/') as ['volume' | 'store', string];
  return { kind, name };
}

function segmentsOf(what: string): readonly string[] {
  const segment = segmentOfPlace[what];
  return segment === undefined ? [] : [segment];
}

function startOf(
  workload: string,
  epoch: number,
  afresh: boolean,
  segments: readonly string[],
  sessions: readonly string[],
): WallCommand {
  return { kind: 'start', workload, epoch, image: 'sha256:1', afresh, segments, sessions, observed: false };
}

/** An answer without what only people read. */
function outcomeText(outcome: WallOutcome): string {
  switch (outcome.kind) {
    case 'admitted': {
      const { already, exempt, overrides } = outcome;
      return already
        ? 'admitted already'
        : `admitted exempt=${[...exempt].sort().join()} overridden=${overrides.length > 0}`;
    }
    case 'recorded':
      return `recorded ${conflictsText(outcome.breaches)}`;
    case 'refused':
      return outcome.refusal.because === 'conflict'
        ? `refused ${conflictsText(outcome.refusal.conflicts)}`
        : `refused ${outcome.refusal.because}`;
  }
}

function conflictsText(conflicts: readonly WallConflict[]): string {
  return conflictList(conflicts.map(({ wall, between, transaction }) => `${wall}:${between.join('-')}:${transaction}`));
}
