import { type Party, protocolNumber } from '../model.ts';
import type { FlowGroups } from './flow-groups.ts';
import { type FlowColumns, type RecordedFlows, recordedVerdicts } from './simulation.ts';

/** What was seen between two groups: by protocol and port, as `protocol * 65536 + port`. */
export interface Observed {
  readonly from: number;
  readonly to: number;
  readonly services: Map<number, Seen>;
}

export interface Seen {
  flows: number;
  groups: number;
}

/** Two numbers of groups make one below 2^53. */
const groupsNumbered = 2 ** 26;
const allowed = recordedVerdicts.indexOf('allow');

/** Which connections count: those that were allowed, about which rules can say something. */
export interface ObservedFlows {
  readonly flows: number;
  readonly between: Iterable<Observed>;
}

/** Sums up flows by group: the only loop that sees each of them. */
export function observe(recorded: RecordedFlows, groups: FlowGroups, segment: string | null): ObservedFlows {
  const { parties, batches } = recorded;
  const sources = Int32Array.from(parties, (party) => groups.number(party, 'source'));
  const destinations = Int32Array.from(parties, (party) => groups.number(party, 'destination'));
  const about = parties.map((party) => ({
    judged: party.kind === 'workload' || groups.segmentOf(party) !== null,
    inSegment: segment === null || (party.kind !== 'address' && groups.segmentOf(party) === segment),
    party,
  }));
  const found = new Map<number, Observed>();
  let flows = 0;
  const addBatch = (columns: FlowColumns): void => {
    const { length, source, destination, protocol, port, count, verdict } = columns;
    for (let row = 0; row < length; row++) {
      const [from, to] = [source[row]!, destination[row]!];
      const [start, end] = [about[from]!, about[to]!];
      if (verdict[row] !== allowed || !(start.judged || end.judged) || !(start.inSegment || end.inSegment)) continue;
      if (isNameQuery(start.party, end.party, protocol[row]!, port[row]!)) continue;
      flows += count[row]!;
      const key = sources[from]! * groupsNumbered + destinations[to]!;
      let observed = found.get(key);
      if (observed === undefined) {
        observed = { from: sources[from]!, to: destinations[to]!, services: new Map() };
        found.set(key, observed);
      }
      const service = protocol[row]! * 65_536 + port[row]!;
      const seen = observed.services.get(service);
      if (seen === undefined) observed.services.set(service, { flows: count[row]!, groups: 1 });
      else {
        seen.flows += count[row]!;
        seen.groups++;
      }
    }
  };
  for (const columns of batches) addBatch(columns);
  return { flows, between: found.values() };
}

/** Names may be asked of the host without a rule. */
function isNameQuery(source: Party, destination: Party, protocol: number, port: number): boolean {
  const named = protocol === protocolNumber.udp || protocol === protocolNumber.tcp;
  return named && port === 53 && source.kind === 'workload' && destination.kind === 'host';
}
