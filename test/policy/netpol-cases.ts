/** Cases of NetworkPolicy behaviour as data: a world of pods and policies, and which pods reach which. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { gunzipSync } from 'node:zlib';
import {
  addressFacts,
  type Document,
  type Labels,
  namedPortPrefix,
  namespaceLabel,
  parseDocument,
} from '@bulkhead/policy';

/** One row per source pod, one character per destination pod: `.` connected, `X` blocked. */
type Matrix = readonly string[];
/** By protocol and port: `TCP/80`. */
type Matrices = Readonly<Record<string, Matrix>>;

interface Pod {
  readonly ns: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ip: string;
}

export interface NetpolStep {
  readonly namespaces: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly pods: readonly Pod[];
  /** Null where a step has none. */
  readonly policies: readonly object[] | null;
  readonly ingress: Matrices;
  readonly egress: Matrices;
  readonly combined: Matrices;
}

export interface NetpolCase {
  readonly id: number;
  readonly description: string;
  readonly tags: readonly string[];
  readonly steps: readonly NetpolStep[];
}

/** The file is named by `BULKHEAD_NETPOL_CASES`; null where it is not set, since the project holds no copy. */
export function readNetpolCases(): readonly NetpolCase[] | null {
  const file = process.env['BULKHEAD_NETPOL_CASES'];
  if (file === undefined || file === '') return null;
  const bytes = readFileSync(file);
  return JSON.parse((file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString()) as readonly NetpolCase[];
}

const protocolNumbers: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

export interface Service {
  /** As in the matrices. */
  readonly key: string;
  readonly protocol: number;
  readonly port: number;
}

/** The services that a step asks about. */
export function servicesOf(step: NetpolStep): readonly Service[] {
  return Object.keys(step.combined).map((key) => {
    const [name = '', port] = key.split('/');
    const protocol = protocolNumbers[name];
    if (protocol === undefined) throw new Error(`the cases ask about ${key}, and ${name} is no known protocol`);
    return { key, protocol, port: Number(port) };
  });
}

/** A container's port for every service that is asked about, named `serve-80-tcp`. */
export function servedPorts(step: NetpolStep): readonly { readonly name: string; readonly value: string }[] {
  return servicesOf(step).map(({ key, port }) => {
    const protocol = key.slice(0, key.indexOf('/')).toLowerCase();
    return { name: `serve-${port}-${protocol}`, value: `${protocol}-${port}` };
  });
}

const networkPolicy = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' };

/** The namespaces and policies of a step. */
export function documentsOf(step: NetpolStep): readonly Document[] {
  const namespaces = Object.entries(step.namespaces).map(([name, labels]) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels },
  }));
  // Some cases are written against an API that knows what its objects are.
  const policies = (step.policies ?? []).map((policy) => ({ ...networkPolicy, ...policy }));
  return [...namespaces, ...policies].map((value) => {
    const parsed = parseDocument(value, {});
    if (parsed.kind === 'refused') assert.fail(JSON.stringify(parsed.problems));
    return parsed.document;
  });
}

/** What is known of a pod, as far as the documents ask (`keys`). */
export function podLabels(step: NetpolStep, pod: NetpolStep['pods'][number], keys: ReadonlySet<string>): Labels {
  const ports = servedPorts(step).map(({ name, value }) => [namedPortPrefix + name, value] as const);
  return { ...pod.labels, [namespaceLabel]: pod.ns, ...Object.fromEntries(ports), ...addressFacts(keys)([pod.ip]) };
}
