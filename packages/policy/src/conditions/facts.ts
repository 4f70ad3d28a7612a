/**
 * What the `when` of a rule may name: the facts of one question. Absent facts are empty strings and empty lists, never null: a
 * party that is no workload has no labels and is in no segment.
 */
import type { Labels } from '../model.ts';
import type { Dependency, Environment, Variable } from './environment.ts';
import { double, int, listOf, mapOf, oneOf, string } from './types.ts';
import type { Value, ValueType } from './types.ts';

export const weekdays = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'] as const;
export const boundaries = ['hardware', 'emulated', 'none'] as const;
export const partyKinds = ['workload', 'host', 'address'] as const;
export const protocolNames = ['tcp', 'udp', 'icmp', 'icmpv6', 'sctp', 'other'] as const;

/** A moment in the policy's time zone. */
export interface TimeFacts {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  /** Of the month, 1 to 31. */
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly weekday: (typeof weekdays)[number];
  /** `2026-11-21`: compares as text in the order of time. */
  readonly date: string;
  /** `08:05`: compares as text in the order of time. */
  readonly clock: string;
}

export interface PartyFacts {
  readonly kind: (typeof partyKinds)[number];
  /** The workload's id, unique in the cluster; empty if it is none. */
  readonly workload: string;
  readonly name: string;
  readonly labels: Labels;
  readonly segments: readonly string[];
  readonly class: string;
  readonly boundary: (typeof boundaries)[number];
  readonly image: string;
  /** `sha256:…`, as the engine resolved it. */
  readonly imageDigest: string;
  readonly host: string;
  readonly generation: number;
  readonly address: string;
}

export interface ConditionFacts {
  readonly time: TimeFacts;
  readonly source: PartyFacts;
  readonly destination: PartyFacts;
  readonly flow: {
    readonly protocol: (typeof protocolNames)[number];
    readonly port: number;
    readonly ratePerMinute: number;
  };
  readonly rule: { readonly tier: string; readonly policy: string; readonly name: string };
}

type Read = (facts: ConditionFacts) => Value;
type Entry = [string, Variable<ConditionFacts>];

function variable(name: string, type: ValueType, read: Read, dependsOn: Dependency | null): Entry {
  return [name, { type, read, dependsOn }];
}

/** Each read is a function of its own, so that the engine keeps a fast path for each. */
const sourceReads: Record<keyof PartyFacts, Read> = {
  kind: (facts) => facts.source.kind,
  workload: (facts) => facts.source.workload,
  name: (facts) => facts.source.name,
  labels: (facts) => facts.source.labels,
  segments: (facts) => facts.source.segments,
  class: (facts) => facts.source.class,
  boundary: (facts) => facts.source.boundary,
  image: (facts) => facts.source.image,
  imageDigest: (facts) => facts.source.imageDigest,
  host: (facts) => facts.source.host,
  generation: (facts) => facts.source.generation,
  address: (facts) => facts.source.address,
};
const destinationReads: Record<keyof PartyFacts, Read> = {
  kind: (facts) => facts.destination.kind,
  workload: (facts) => facts.destination.workload,
  name: (facts) => facts.destination.name,
  labels: (facts) => facts.destination.labels,
  segments: (facts) => facts.destination.segments,
  class: (facts) => facts.destination.class,
  boundary: (facts) => facts.destination.boundary,
  image: (facts) => facts.destination.image,
  imageDigest: (facts) => facts.destination.imageDigest,
  host: (facts) => facts.destination.host,
  generation: (facts) => facts.destination.generation,
  address: (facts) => facts.destination.address,
};
const partyTypes: Record<keyof PartyFacts, ValueType> = {
  kind: oneOf(...partyKinds),
  workload: string,
  name: string,
  labels: mapOf(string),
  segments: listOf(string),
  class: string,
  boundary: oneOf(...boundaries),
  image: string,
  imageDigest: string,
  host: string,
  generation: int,
  address: string,
};

/** Segments follow from an identity's labels; everything else may differ between two workloads of one identity. */
function partyVariables(party: string, reads: Record<keyof PartyFacts, Read>): Entry[] {
  return (Object.keys(partyTypes) as (keyof PartyFacts)[]).map((field) =>
    variable(`${party}.${field}`, partyTypes[field], reads[field], field === 'segments' ? null : 'workload'),
  );
}

export const conditionEnvironment: Environment<ConditionFacts> = new Map([
  variable('time.year', int, (facts) => facts.time.year, 'time'),
  variable('time.month', int, (facts) => facts.time.month, 'time'),
  variable('time.day', int, (facts) => facts.time.day, 'time'),
  variable('time.hour', int, (facts) => facts.time.hour, 'time'),
  variable('time.minute', int, (facts) => facts.time.minute, 'time'),
  variable('time.weekday', oneOf(...weekdays), (facts) => facts.time.weekday, 'time'),
  variable('time.date', string, (facts) => facts.time.date, 'time'),
  variable('time.clock', string, (facts) => facts.time.clock, 'time'),
  ...partyVariables('source', sourceReads),
  ...partyVariables('destination', destinationReads),
  variable('flow.protocol', oneOf(...protocolNames), (facts) => facts.flow.protocol, null),
  variable('flow.port', int, (facts) => facts.flow.port, null),
  variable('flow.ratePerMinute', double, (facts) => facts.flow.ratePerMinute, 'rate'),
  variable('rule.tier', string, (facts) => facts.rule.tier, null),
  variable('rule.policy', string, (facts) => facts.rule.policy, null),
  variable('rule.name', string, (facts) => facts.rule.name, null),
]);
