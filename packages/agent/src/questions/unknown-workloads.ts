/** Packets of and to endpoints whose labels are not known yet: kept a while, and judged anew when they are. */
import type { Punt, PuntDevice } from '@bulkhead/kernel';
import type { Clock } from '../clock.ts';
import { guarded, type HeldPacket, type HeldPackets } from './held-packets.ts';
import { questionLimits } from './limits.ts';

export class UnknownWorkloads {
  readonly #device: PuntDevice;
  readonly #clock: Clock;
  readonly #held: HeldPackets;
  readonly #packets = new Map<HeldPacket, () => void>();
  #expired = 0;

  constructor(device: PuntDevice, clock: Clock, held: HeldPackets) {
    this.#device = device;
    this.#clock = clock;
    this.#held = held;
  }

  get size(): number {
    return this.#packets.size;
  }

  get expired(): number {
    return this.#expired;
  }

  take(punt: Punt, frame: Uint8Array): void {
    const packet = this.#held.hold(punt, frame);
    if (packet === null) return;
    const cancel = this.#clock.after(questionLimits.unknownMs, () => {
      this.#release(packet);
      this.#expired++;
      guarded(() => this.#device.refuse(punt, frame, false));
    });
    this.#packets.set(packet, cancel);
  }

  /** Gives those packets to the kernel again whose ends `isHeld` no more. What it still cannot judge it holds again. */
  judgeAgain(isHeld: (slot: number) => boolean): void {
    const ready: HeldPacket[] = [];
    for (const packet of this.#packets.keys()) {
      const { sourceSlot, destinationSlot } = packet.punt;
      if (!isHeld(sourceSlot) && !isHeld(destinationSlot)) ready.push(packet);
    }
    for (const packet of ready) {
      this.#release(packet);
      guarded(() => this.#device.judge(packet.punt, packet.frame));
    }
  }

  close(): void {
    for (const cancel of this.#packets.values()) cancel();
    this.#packets.clear();
  }

  #release(packet: HeldPacket): void {
    this.#packets.get(packet)?.();
    this.#packets.delete(packet);
    this.#held.release(packet);
  }
}
