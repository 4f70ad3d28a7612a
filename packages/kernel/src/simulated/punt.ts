/** The punt device of a simulated machine: a bounded queue of frames, handed over between turns, as the real one's are. */
import { KernelError, type Punt, type PuntDevice } from '../port.ts';
import { keyOf, reversed } from './connections.ts';
import type { HeldPacket } from './state.ts';

export const puntInterfaceName = 'punt0';
const queueFrames = 4096;

export type PuntVerb = 'admit' | 'judge' | 'refuse' | 'reject';
type Outcome = 'sent' | 'stale' | 'full';

/** What the device asks of the machine. */
export interface PuntPrograms {
  record(id: number): HeldPacket | null;
  answer(id: number, frame: Uint8Array, verb: PuntVerb): Outcome;
  closed(): void;
}

export class SimulatedPuntDevice implements PuntDevice {
  readonly ifindex: number;
  readonly #programs: PuntPrograms;
  readonly #queue: { readonly id: number; readonly frame: Uint8Array }[] = [];
  #handler: ((punt: Punt, frame: Uint8Array) => void) | null = null;
  #closed = false;
  #lost = 0n;

  constructor(ifindex: number, programs: PuntPrograms) {
    this.ifindex = ifindex;
    this.#programs = programs;
  }

  onPunt(handler: (punt: Punt, frame: Uint8Array) => void): void {
    this.#handler = handler;
  }
  admit(punt: Punt, frame: Uint8Array): Outcome {
    return this.#answer(punt, frame, 'admit');
  }
  judge(punt: Punt, frame: Uint8Array): Outcome {
    return this.#answer(punt, frame, 'judge');
  }
  refuse(punt: Punt, frame: Uint8Array, reject: boolean): void {
    this.#answer(punt, frame, reject ? 'reject' : 'refuse');
  }
  lost(): bigint {
    return this.#lost;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.length = 0;
    this.#programs.closed();
  }

  /** A frame that the programs redirected here. */
  take(id: number, frame: Uint8Array): void {
    if (this.#closed || this.#queue.length >= queueFrames) {
      this.#lost++;
      return;
    }
    this.#queue.push({ id, frame });
    queueMicrotask(() => this.#handOver());
  }

  #handOver(): void {
    const next = this.#queue.shift();
    if (next === undefined || this.#closed) return;
    const record = this.#programs.record(next.id);
    if (record === null || this.#handler === null) this.#lost++;
    else this.#handler(puntOf(next.id, record), next.frame);
  }

  #answer(punt: Punt, frame: Uint8Array, verb: PuntVerb): Outcome {
    if (this.#closed) throw new KernelError('answer a held packet', 'ENODEV');
    return this.#programs.answer(punt.id, frame, verb);
  }
}

function puntOf(id: number, held: HeldPacket): Punt {
  return {
    id,
    reason: held.reason,
    sourceSlot: held.slot[0],
    destinationSlot: held.slot[1],
    sourceIdentity: held.identity[0],
    destinationIdentity: held.identity[1],
    egressRule: held.rule[0],
    ingressRule: held.rule[1],
    key: held.fromResponder ? reversed(keyOf(held.packet)) : keyOf(held.packet),
    atNs: held.atNs,
  };
}
