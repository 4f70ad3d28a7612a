/**
 * The network between agents and the manager: ordered and whole while a connection stands, as TCP is; late by chance; and cut by
 * chance, when what was on its way is lost. Both ends look like a WebSocket to the real link code.
 */
import type { VirtualClock } from '../../packages/agent/src/testing/virtual-clock.ts';
import { EventEmitter } from 'node:events';
import type { WebSocket } from 'ws';

export type Random = (below: number) => number;

/** Longest way of one message, milliseconds. */
const delayMsMax = 400;
const openMsMax = 50;

class SimulatedSocket extends EventEmitter {
  readonly #wire: Wire;
  bufferedAmount = 0;

  constructor(wire: Wire) {
    super();
    this.#wire = wire;
  }
  send(data: Uint8Array, ...rest: readonly unknown[]): void {
    const done = rest.at(-1);
    this.#wire.carry(this, Buffer.from(data), typeof done === 'function' ? (done as () => void) : () => undefined);
  }
  close(code = 1000, reason = ''): void {
    this.#wire.end(code, reason);
  }
  terminate(): void {
    this.#wire.cut();
  }
  ping(): void {
    this.#wire.ping(this);
  }
  pause(): void {}
  resume(): void {}
}

/** One connection. */
export class Wire {
  readonly agentEnd = new SimulatedSocket(this);
  readonly managerEnd = new SimulatedSocket(this);
  readonly #clock: VirtualClock;
  readonly #random: Random;
  #isOpen = true;
  #arrivalMs = new Map<SimulatedSocket, number>();

  constructor(clock: VirtualClock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  carry(from: SimulatedSocket, data: Buffer, done: () => void): void {
    if (!this.#isOpen) return;
    const to = from === this.agentEnd ? this.managerEnd : this.agentEnd;
    // Mostly at once, sometimes late; never before what was sent earlier.
    const delayMs = this.#random(4) === 0 ? this.#random(delayMsMax) : this.#random(3);
    const atMs = Math.max(this.#arrivalMs.get(to) ?? 0, this.#clock.nowMs() + delayMs);
    this.#arrivalMs.set(to, atMs);
    this.#clock.after(atMs - this.#clock.nowMs(), () => {
      if (!this.#isOpen) return;
      done();
      to.emit('message', data, true);
    });
  }

  ping(from: SimulatedSocket): void {
    const to = from === this.agentEnd ? this.managerEnd : this.agentEnd;
    this.#clock.after(1, () => {
      if (!this.#isOpen) return;
      to.emit('ping');
      from.emit('pong');
    });
  }

  /** An orderly end: what was sent before arrives first. */
  end(code: number, reason: string): void {
    const lastMs = Math.max(0, ...[...this.#arrivalMs.values()].map((atMs) => atMs - this.#clock.nowMs()));
    this.#clock.after(lastMs, () => this.cut(code, reason));
  }

  /** What is on its way is lost. */
  cut(code = 1006, reason = ''): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const end of [this.agentEnd, this.managerEnd])
      queueMicrotask(() => end.emit('close', code, Buffer.from(reason)));
  }
}

/** Where hosts reach the manager. */
export class Network {
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #wires = new Map<string, Wire>();
  readonly #partitioned = new Set<string>();
  #accept: ((host: string, socket: WebSocket) => void) | null = null;

  constructor(clock: VirtualClock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** A socket that opens, or closes, in a while. */
  connect(host: string): WebSocket {
    const wire = new Wire(this.#clock, this.#random);
    this.#clock.after(1 + this.#random(openMsMax), () => {
      if (!wire.isOpen) return;
      if (this.#accept === null || this.#partitioned.has(host)) return wire.cut();
      this.#wires.get(host)?.cut();
      this.#wires.set(host, wire);
      this.#accept(host, wire.managerEnd as unknown as WebSocket);
      wire.agentEnd.emit('open');
    });
    return wire.agentEnd as unknown as WebSocket;
  }

  listen(accept: (host: string, socket: WebSocket) => void): void {
    this.#accept = accept;
  }

  /** The manager's process is gone. */
  silence(): void {
    this.#accept = null;
    for (const wire of this.#wires.values()) wire.cut();
    this.#wires.clear();
  }

  cut(host: string): void {
    this.#wires.get(host)?.cut();
  }

  setPartitioned(host: string, isPartitioned: boolean): void {
    if (!isPartitioned) return void this.#partitioned.delete(host);
    this.#partitioned.add(host);
    this.cut(host);
  }
}
