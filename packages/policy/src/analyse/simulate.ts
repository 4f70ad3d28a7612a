import { type Action, factPrefix, type Party, type SideVerdict } from '../model.ts';
import type { PolicySet } from '../resolve/policy-set.ts';
import { reasonText } from '../resolve/reason.ts';
import { labelOf } from '../select/selector.ts';
import { addressPieces } from './address-pieces.ts';
import { ClassSet } from './class-set.ts';
import { Classifier, type Sighting } from './classifier.ts';
import { Describer } from './describe.ts';
import { PairJudge } from './pair-judge.ts';
import { actionOf, type PairTables, PairVerdicts } from './pair-verdicts.ts';
import { type Pieces, piecesOf } from './port-set.ts';
import {
  changesMax,
  changesTrackedMax,
  type FlowColumns,
  type FlowFate,
  type RecordedFlows,
  recordedVerdicts,
  type SimulatedChange,
  type Simulation,
  type SimulationResult,
} from './simulation.ts';

/** The proposed policy over recorded flows, in one call. */
export function simulate(proposed: PolicySet, flows: RecordedFlows): SimulationResult {
  const simulation = createSimulation(proposed);
  simulation.add(flows);
  return simulation.result();
}

export function createSimulation(proposed: PolicySet): Simulation {
  return new PolicySimulation(proposed);
}

/** A verdict of the proposed policy, ready to be compared with a recorded one. */
interface Proposed {
  readonly action: Action;
  readonly egressReason: string;
  readonly ingressReason: string;
  /** Numbers of these two texts. */
  readonly egressText: number;
  readonly ingressText: number;
  /** What changes to this verdict, by `changeKey`. */
  readonly changes: Map<number, CountedChange>;
}

/** The functions of a pair of classes, by protocol: where each piece starts, and its verdict. */
interface ProposedTable {
  readonly starts: readonly (Int32Array | undefined)[];
  readonly verdicts: readonly (readonly Proposed[] | undefined)[];
  readonly rest: Proposed;
}

interface CountedChange {
  readonly fate: 'changed' | 'undecided';
  readonly recorded: number;
  readonly proposed: Proposed;
  readonly protocol: number;
  readonly port: number;
  readonly egressReason: string;
  readonly ingressReason: string;
  readonly source: Party;
  readonly destination: Party;
  readonly from: Set<number>;
  readonly to: Set<number>;
  /** Most flows come one after another from the same classes. */
  lastFrom: number;
  lastTo: number;
  flows: number;
}

/** Two reasons' places make one number, and a pair of them with protocol, port, verdict and `asked` another: both below 2^53. */
const reasonsNumbered = 2 ** 26;
const servicesMax = 2 ** 16 * 2 ** 8 * recordedVerdicts.length * 2;

class PolicySimulation implements Simulation {
  readonly #set: PolicySet;
  readonly #classifier: Classifier;
  readonly #judge: PairJudge;
  readonly #pairs: PairVerdicts;
  readonly #classOfParty: number[] = [];
  /** By class of the source, then of the destination. */
  readonly #tables: Map<number, ProposedTable>[] = [];
  readonly #tableOfFunctions: ProposedTable[] = [];
  readonly #proposed = new Map<string, Proposed>();
  readonly #texts = new Map<string, number>();
  readonly #textOfReason: number[] = [];
  readonly #reasonPairs = new Map<number, number>();
  readonly #changes: CountedChange[] = [];
  readonly #totals = { flows: 0, groups: 0, same: 0, changed: 0, undecided: 0, otherReason: 0, flowsUntracked: 0 };

  constructor(set: PolicySet) {
    this.#set = set;
    this.#classifier = new Classifier([set]);
    // Hosts that are not told apart are one class then, and it has a row in compiled tables.
    this.#classifier.classify({ kind: 'host' }, { hypothetical: true });
    for (const piece of addressPieces(this.#classifier.prefixes))
      this.#classifier.classify({ kind: 'address', address: piece.example }, { piece, hypothetical: true });
    this.#judge = new PairJudge(set, this.#classifier.classes);
    this.#pairs = new PairVerdicts(this.#judge);
  }

  add({ parties, reasons, batches }: RecordedFlows): void {
    for (let number = this.#classOfParty.length; number < parties.length; number++) {
      const party = parties[number]!;
      this.#classOfParty.push(this.#classifier.classify(party, sightingOf(party)).index);
    }
    for (let number = this.#textOfReason.length; number < reasons.length; number++)
      this.#textOfReason.push(this.#textNumber(reasons[number]!));
    this.#judge.prepare();
    for (const columns of batches) this.#addBatch(columns, parties, reasons);
  }

  /** The loop that every flow group goes through: nothing is made in it but what is found to change. */
  #addBatch(columns: FlowColumns, parties: readonly Party[], reasons: readonly string[]): void {
    const { source, destination, protocol, port, count, verdict, asked, egressReason, ingressReason } = columns;
    const totals = this.#totals;
    const classOf = this.#classOfParty;
    const textOf = this.#textOfReason;
    totals.groups += columns.length;
    for (let row = 0; row < columns.length; row++) {
      const table = this.#table(classOf[source[row]!]!, classOf[destination[row]!]!);
      const proposed = verdictAt(table, protocol[row]!, port[row]!);
      const flows = count[row]!;
      totals.flows += flows;
      const fate = fateOf(verdict[row]!, proposed.action, asked[row]!);
      totals[fate] += flows;
      if (fate !== 'same') {
        this.#count(fate, proposed, columns, row, parties, reasons);
      } else if (
        textOf[egressReason[row]!] !== proposed.egressText ||
        textOf[ingressReason[row]!] !== proposed.ingressText
      ) {
        totals.otherReason += flows;
      }
    }
  }

  #table(from: number, to: number): ProposedTable {
    const row = (this.#tables[from] ??= new Map());
    let table = row.get(to);
    if (table === undefined) {
      const functions = this.#pairs.pair(from, to);
      table = this.#tableOfFunctions[functions.number] ??= this.#tableOf(functions);
      row.set(to, table);
    }
    return table;
  }

  #tableOf({ egress, ingress }: PairTables): ProposedTable {
    const pieces: Pieces = piecesOf([egress, ingress]);
    const starts: Int32Array[] = [];
    const verdicts: Proposed[][] = [];
    for (const [protocol, own] of Map.groupBy(pieces.pieces, (piece) => piece.protocol)) {
      starts[protocol] = Int32Array.from(own, ({ from }) => from);
      verdicts[protocol] = own.map((piece) => this.#propose(piece.verdicts));
    }
    return { starts, verdicts, rest: this.#propose(pieces.rest) };
  }

  #propose(sides: readonly SideVerdict[]): Proposed {
    const [egressReason, ingressReason] = sides.map(({ reason }) => reasonText(reason)) as [string, string];
    const action = actionOf(sides);
    const key = `${action} ${egressReason} ${ingressReason}`;
    let proposed = this.#proposed.get(key);
    if (proposed === undefined) {
      proposed = {
        action,
        egressReason,
        ingressReason,
        egressText: this.#textNumber(egressReason),
        ingressText: this.#textNumber(ingressReason),
        changes: new Map(),
      };
      this.#proposed.set(key, proposed);
    }
    return proposed;
  }

  #count(
    fate: Exclude<FlowFate, 'same'>,
    proposed: Proposed,
    columns: FlowColumns,
    row: number,
    parties: readonly Party[],
    reasons: readonly string[],
  ): void {
    const [source, destination] = [columns.source[row]!, columns.destination[row]!];
    const [from, to] = [this.#classOfParty[source]!, this.#classOfParty[destination]!];
    const [egress, ingress] = [columns.egressReason[row]!, columns.ingressReason[row]!];
    const [protocol, port, recorded] = [columns.protocol[row]!, columns.port[row]!, columns.verdict[row]!];
    const service = ((port * 256 + protocol) * recordedVerdicts.length + recorded) * 2 + columns.asked[row]!;
    const key = this.#reasonPair(egress, ingress) * servicesMax + service;
    let change = proposed.changes.get(key);
    if (change === undefined) {
      if (this.#changes.length >= changesTrackedMax) {
        this.#totals.flowsUntracked += columns.count[row]!;
        return;
      }
      change = {
        fate,
        recorded,
        proposed,
        protocol,
        port,
        egressReason: reasons[egress]!,
        ingressReason: reasons[ingress]!,
        source: parties[source]!,
        destination: parties[destination]!,
        from: new Set(),
        to: new Set(),
        lastFrom: -1,
        lastTo: -1,
        flows: 0,
      };
      proposed.changes.set(key, change);
      this.#changes.push(change);
    }
    if (change.lastFrom !== from) change.from.add((change.lastFrom = from));
    if (change.lastTo !== to) change.to.add((change.lastTo = to));
    change.flows += columns.count[row]!;
  }

  #textNumber(text: string): number {
    let number = this.#texts.get(text);
    if (number === undefined) {
      number = this.#texts.size;
      this.#texts.set(text, number);
    }
    return number;
  }

  #reasonPair(egress: number, ingress: number): number {
    const key = egress * reasonsNumbered + ingress;
    let number = this.#reasonPairs.get(key);
    if (number === undefined) {
      number = this.#reasonPairs.size;
      this.#reasonPairs.set(key, number);
    }
    return number;
  }

  result(): SimulationResult {
    const { flowsUntracked, ...totals } = this.#totals;
    const sorted = this.#changes.toSorted((a, b) => b.flows - a.flows);
    const describer = new Describer([this.#set], this.#classifier.classes);
    const changes = sorted.slice(0, changesMax).map((change) => this.#described(change, describer));
    const omitted = sorted.slice(changesMax).reduce((sum, { flows }) => sum + flows, flowsUntracked);
    return { ...totals, changes, flowsOmitted: omitted, changesTracked: this.#changes.length };
  }

  #described(change: CountedChange, describer: Describer): SimulatedChange {
    const { fate, recorded, proposed, protocol, port, flows, source, destination } = change;
    const size = this.#classifier.classes.length;
    return {
      fate,
      recorded: recordedVerdicts[recorded]!,
      proposed: proposed.action,
      from: describer.describe(ClassSet.of(size, change.from)),
      to: describer.describe(ClassSet.of(size, change.to)),
      protocol,
      port,
      recordedReasons: { egress: change.egressReason, ingress: change.ingressReason },
      proposedReasons: { egress: proposed.egressReason, ingress: proposed.ingressReason },
      flows,
      example: { source, destination },
    };
  }
}

/** How a recorded party is told of: a workload by its name, a host by its own, an address as itself. */
function sightingOf(party: Party): Sighting {
  switch (party.kind) {
    case 'workload':
      return { workloads: 1, examples: party.name === undefined ? [] : [party.name] };
    case 'host':
      return { host: labelOf(party.labels ?? {}, `${factPrefix}host`) ?? null };
    case 'address':
      return { named: { address: party.address, names: party.names ?? [] } };
    case 'unknown':
      return {};
  }
}

function fateOf(recorded: number, proposed: Action, asked: number): FlowFate {
  if (recordedVerdicts[recorded] === proposed) return 'same';
  return proposed === 'ask' && asked !== 0 ? 'undecided' : 'changed';
}

/** The last piece that starts at the port or below it. */
function verdictAt({ starts, verdicts, rest }: ProposedTable, protocol: number, port: number): Proposed {
  const own = starts[protocol];
  if (own === undefined) return rest;
  let [low, high] = [0, own.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (own[middle]! <= port) low = middle;
    else high = middle - 1;
  }
  return verdicts[protocol]![low]!;
}
