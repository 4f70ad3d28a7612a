/** What an agent is started with, and what it can be asked while it runs. */
import type { Kernel } from '@bulkhead/kernel';
import type { Labels } from '@bulkhead/policy';
import type { FlowRecord } from '@bulkhead/protocol';
import type { Logger } from 'pino';
import type { Clock } from './clock.ts';
import type { AgentStatus } from './control/status.ts';
import type { GuardReader } from './host/host-watch.ts';
import type { ManagerLinkFactory } from './link/manager-link.ts';
import type { AttachmentFactory, Directory, EndpointRegistry } from './model.ts';

export const puntRateDefault = 2_000;
export const puntBurstDefault = 512;

export interface AgentOptions {
  readonly host: string;
  readonly kernel: Kernel;
  readonly log: Logger;
  readonly stateDirectory: string;
  /** Another after each boot of the machine. */
  readonly bootId: string;
  /** Another for each start: makes the ids of questions unique. */
  readonly startId: string;
  readonly kernelName: string;
  readonly software: string;
  /** null: without a manager, with the last desired state. */
  readonly link: ManagerLinkFactory | null;
  readonly attachments: AttachmentFactory | null;
  /** null: none. */
  readonly controlSocket: string | null;
  /** Names of the interfaces that lead out of the machine; null: found by their addresses. */
  readonly uplinks?: readonly string[] | null;
  /** What is said about the host, beside the facts. */
  readonly hostLabels?: Labels;
  /** Where SSH servers and managers are; by default nowhere but at port 22. */
  readonly guard?: GuardReader;
  readonly clock?: Clock;
  readonly connectionsPerEndpoint?: number;
  /** Punts per second and endpoint, and how many at once. */
  readonly puntRate?: number;
  readonly puntBurst?: number;
}

export interface Agent extends AsyncDisposable {
  readonly registry: EndpointRegistry;
  readonly directory: Directory;
  status(): AgentStatus;
  /** Compares with kernel and engines at once. */
  resync(): Promise<void>;
  onFlow(listener: (flow: FlowRecord) => void): () => void;
}
