/** Accounting of held packets: in all, by bytes, and by the endpoint that sends. */
import { KernelError, type Punt, type PuntDevice } from '@bulkhead/kernel';
import { questionLimits } from './limits.ts';

export interface HeldPacket {
  readonly punt: Punt;
  readonly frame: Uint8Array;
}

export class HeldPackets {
  readonly #device: PuntDevice;
  readonly #bySlot = new Map<number, number>();
  #packets = 0;
  #bytes = 0;
  #refused = 0;

  constructor(device: PuntDevice) {
    this.#device = device;
  }

  get packets(): number {
    return this.#packets;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Packets for which there was no room. */
  get overflowed(): number {
    return this.#refused;
  }

  /** Null where there is no room: the packet was refused. */
  hold(punt: Punt, frame: Uint8Array): HeldPacket | null {
    const held = this.#bySlot.get(slotOf(punt)) ?? 0;
    const { packetsMax, packetsPerEndpointMax, bytesMax } = questionLimits;
    if (this.#packets >= packetsMax || held >= packetsPerEndpointMax || this.#bytes + frame.length > bytesMax) {
      this.#refused++;
      guarded(() => this.#device.refuse(punt, frame, false));
      return null;
    }
    this.#packets++;
    this.#bytes += frame.length;
    this.#bySlot.set(slotOf(punt), held + 1);
    return { punt, frame };
  }

  /** The packet goes, one way or the other. Call once for each `hold`. */
  release({ punt, frame }: HeldPacket): void {
    this.#packets--;
    this.#bytes -= frame.length;
    const slot = slotOf(punt);
    const held = this.#bySlot.get(slot)! - 1;
    if (held === 0) this.#bySlot.delete(slot);
    else this.#bySlot.set(slot, held);
  }
}

/** A device that fails refuses by itself: nothing comes back in. The text of the failure is the outcome. */
export function guarded<T>(run: () => T): T | string {
  try {
    return run();
  } catch (error) {
    if (error instanceof KernelError) return error.message;
    throw error;
  }
}

/** Whom the packet counts against: what comes from outside counts against the receiver. */
function slotOf({ sourceSlot, destinationSlot }: Punt): number {
  return sourceSlot === 0 ? destinationSlot : sourceSlot;
}
