/** What the manager has heard of each host: connection, newest receipt, newest status. In memory; receipts are also a stream. */
import type { AgentMessage, ReceiptMessage } from '@bulkhead/protocol';
import type { Streams, Unsubscribe } from '../services.ts';

type Hello = Extract<AgentMessage, { type: 'hello' }>['body'];
type Status = Extract<AgentMessage, { type: 'status' }>['body'];

export interface HostPresence {
  readonly connectedSinceMs: number | null;
  readonly lastSeenMs: number | null;
  readonly hello: Hello | null;
  readonly status: Status | null;
  readonly receipt: ReceiptMessage | null;
}

const stream = 'receipts';
/** Receipts read back at start, and about how many are kept. */
const receiptsKept = 20_000;
const trimEvery = 1000;

const absent: HostPresence = { connectedSinceMs: null, lastSeenMs: null, hello: null, status: null, receipt: null };

export class Presence {
  readonly #streams: Streams;
  readonly #nowMs: () => number;
  readonly #hosts = new Map<string, HostPresence>();
  readonly #listeners = new Set<(host: string) => void>();
  #sinceTrim = 0;

  private constructor(streams: Streams, nowMs: () => number) {
    this.#streams = streams;
    this.#nowMs = nowMs;
  }

  static async open(streams: Streams, nowMs: () => number): Promise<Presence> {
    const presence = new Presence(streams, nowMs);
    for (const record of await streams.tail(stream, receiptsKept)) {
      const { host, receipt } = JSON.parse(new TextDecoder().decode(record.data)) as {
        host: string;
        receipt: ReceiptMessage;
      };
      presence.#hosts.set(host, { ...absent, receipt, lastSeenMs: record.atMs });
    }
    return presence;
  }

  of(host: string): HostPresence {
    return this.#hosts.get(host) ?? absent;
  }

  connected(host: string, hello: Hello): void {
    const atMs = this.#nowMs();
    this.#update(host, { connectedSinceMs: atMs, lastSeenMs: atMs, hello });
  }

  disconnected(host: string): void {
    this.#update(host, { connectedSinceMs: null, lastSeenMs: this.#nowMs() });
  }

  status(host: string, status: Status): void {
    this.#update(host, { status, lastSeenMs: this.#nowMs() });
  }

  async receipt(host: string, receipt: ReceiptMessage): Promise<void> {
    await this.#streams.append(stream, [new TextEncoder().encode(JSON.stringify({ host, receipt }))]);
    this.#update(host, { receipt, lastSeenMs: this.#nowMs() });
    this.#sinceTrim += 1;
    if (this.#sinceTrim < trimEvery) return;
    this.#sinceTrim = 0;
    await this.#streams.trim(stream, (await this.#streams.last(stream)) - receiptsKept);
  }

  /** The oldest revision that any of the hosts may still enforce. */
  confirmedRevision(hosts: Iterable<string>): number {
    let confirmed = Number.MAX_SAFE_INTEGER;
    for (const host of hosts) confirmed = Math.min(confirmed, this.of(host).receipt?.revision ?? 0);
    return confirmed;
  }

  onChange(listener: (host: string) => void): Unsubscribe {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Heads of the audit log that hosts were shown and sent back, newest per host. */
  witnesses(): readonly NonNullable<ReceiptMessage['auditHead']>[] {
    return [...this.#hosts.values()].flatMap(({ receipt }) => (receipt?.auditHead == null ? [] : [receipt.auditHead]));
  }

  #update(host: string, change: Partial<HostPresence>): void {
    this.#hosts.set(host, { ...this.of(host), ...change });
    for (const listener of this.#listeners) listener(host);
  }
}
