/** The same filter as a search's, for flows as they arrive. */
import type { FlowFilter, StoredFlow, StoredParty } from '@bulkhead/protocol';

export type FlowMatcher = (flow: StoredFlow) => boolean;

/** The tests of `search.ts`, one by one; `flow-store.test.ts` holds both to one meaning. */
export function flowMatcher(filter: FlowFilter, scope: readonly string[] | null): FlowMatcher {
  const tests: FlowMatcher[] = [];
  const add = <Value>(value: Value | undefined, matches: (flow: StoredFlow, value: Value) => boolean): void => {
    if (value !== undefined) tests.push((flow) => matches(flow, value));
  };
  add(filter.id, ({ id }, wanted) => id === wanted);
  add(filter.workload, ({ source, destination }, name) => isNamed(source, name) || isNamed(destination, name));
  add(filter.source, ({ source }, name) => isNamed(source, name));
  add(filter.destination, ({ destination }, name) => isNamed(destination, name));
  add(
    filter.segment,
    ({ source, destination }, name) => source.segments.includes(name) || destination.segments.includes(name),
  );
  add(
    filter.address,
    ({ source, destination }, address) => source.address === address || destination.address === address,
  );
  add(filter.host, ({ host }, name) => host === name);
  add(filter.verdict, ({ verdict }, wanted) => verdict === wanted);
  add(filter.protocol, ({ protocol }, wanted) => protocol === wanted);
  add(filter.port, ({ destination }, port) => destination.port === port);
  add(filter.reason, (flow, part) => flow.egressReason.includes(part) || flow.ingressReason.includes(part));
  add(filter.dropReason, ({ dropReason }, wanted) => dropReason === wanted);
  add(filter.sinceMs, ({ lastMs }, sinceMs) => lastMs >= sinceMs);
  add(filter.untilMs, ({ firstMs }, untilMs) => firstMs <= untilMs);
  add(filter.staged, ({ staged }, wanted) => (staged !== null) === wanted);
  add(scope ?? undefined, ({ source, destination }, segments) =>
    [...source.segments, ...destination.segments].some((segment) => segments.includes(segment)),
  );
  return (flow) => tests.every((test) => test(flow));
}

function isNamed(party: StoredParty, name: string): boolean {
  return party.workload === name || party.name === name;
}
