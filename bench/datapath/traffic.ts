/** The load generator in the namespaces: one server a topology, clients in turn, pinned so that noise is the same for everybody. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { promisify } from 'node:util';
import { addressB, inNamespace, type Topology } from './topology.ts';

export type Load = 'rr' | 'crr' | 'stream';

export interface LoadResult {
  /** Operations per second; bytes per second with `stream`. */
  readonly rate: number;
  readonly failures: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
}

const run = promisify(execFile);
export const loadBinary = path.join(import.meta.dirname, '../load/build/load');
export const loadPort = 7000;

export async function buildLoad(): Promise<void> {
  await run('make', ['-C', path.join(import.meta.dirname, '../load')]);
}

/** The server runs on the last processor; so do RR and CRR clients (the cost of the path alone), while streams use the first. */
export async function startServer(topology: Topology): Promise<ChildProcess> {
  const server = spawn(
    'nsenter',
    [`--net=/run/netns/${topology.b}`, 'taskset', '-c', '1', loadBinary, 'serve', String(loadPort)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await once(server.stdout, 'data');
  return server;
}

export async function measureLoad(topology: Topology, load: Load, seconds: number): Promise<LoadResult> {
  const cpu = load === 'stream' ? '0' : '1';
  const text = await inNamespace(topology.a, [
    'taskset',
    '-c',
    cpu,
    loadBinary,
    load,
    addressB,
    String(loadPort),
    String(seconds),
  ]);
  return JSON.parse(text) as LoadResult;
}

/** Segmentation offload on or off at both ends: without it every packet pays the path's cost. */
export async function setOffload(topology: Topology, on: boolean): Promise<void> {
  const value = on ? 'on' : 'off';
  for (const namespace of [topology.a, topology.b])
    await inNamespace(namespace, ['ethtool', '-K', 'eth0', 'tso', value, 'gso', value, 'gro', value]);
}
