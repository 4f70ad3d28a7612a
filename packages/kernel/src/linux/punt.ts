/**
 * The punt device: a persistent tap that the programs redirect held packets to. It has no addresses, no ARP and no IPv6; whatever
 * enters it is judged by `from_punt`. It is read on the main loop, when the descriptor can be read: a thread in between would only add
 * a hand-over to every question. What the loop is too busy to take waits in the device's queue, and what does not fit there is counted.
 */
import { readFileSync } from 'node:fs';
import { puntOutcome, puntReason, puntVerb, readPunt } from '../generated/maps.ts';
import { KernelError, type Punt, type PuntDevice } from '../port.ts';
import { IpBatches } from './ip.ts';
import { close, errno, failure, ioctl, open, openReadWriteNonBlocking, read, watchReadable, write } from './libc.ts';
import { LinuxRoutes } from './routes.ts';
import type { Table } from './table.ts';

const frameBytesMax = 65_536;
/** Frames taken in one turn of the loop; the rest waits for the next. */
const framesPerTurnMax = 256;
const queueFrames = 4096;
/** The greatest that a tap takes, so that no held packet is too long. */
const mtu = 65_521;

const setInterfaceRequest = 0x400454ca;
const setPersistentRequest = 0x400454cb;
const interfaceRequestBytes = 40;
const tapWithoutHeader = 0x0002 | 0x1000;
const nameBytesMax = 15;

const sourceMacAt = 6;
const localMac = 0x02;
const ethernetHeaderBytes = 14;

type Outcome = 'sent' | 'stale' | 'full';

/**
 * Makes or takes over the device. EBUSY when another process reads it. `attach` puts the program on it before it goes up: a frame
 * written to the bare device would enter the host's stack.
 */
export async function openPuntDevice(
  name: string,
  punts: () => Table | null,
  attach: (ifindex: number) => void,
): Promise<PuntDevice> {
  if (name.length > nameBytesMax) throw new KernelError(`open punt device ${name}`, 'ENAMETOOLONG');
  const fd = open('/dev/net/tun', openReadWriteNonBlocking);
  try {
    const request = Buffer.alloc(interfaceRequestBytes);
    request.write(name, 0, 'latin1');
    request.writeUInt16LE(tapWithoutHeader, 16);
    ioctl(fd, setInterfaceRequest, request, `open punt device ${name}`);
    ioctl(fd, setPersistentRequest, 1, `keep punt device ${name}`);
    const ifindex = await configure(name, attach);
    return new TapPuntDevice(name, ifindex, fd, punts);
  } catch (error) {
    close(fd);
    throw error;
  }
}

async function configure(name: string, attach: (ifindex: number) => void): Promise<number> {
  const routes = new LinuxRoutes();
  const ip = new IpBatches();
  await ip.run('link', 'set', 'dev', name, 'addrgenmode', 'none').catch(withoutIpv6('EOPNOTSUPP'));
  await routes.setSysctl(`net/ipv6/conf/${name}/disable_ipv6`, '1').catch(withoutIpv6('ENOENT'));
  await ip.run('link', 'set', 'dev', name, 'arp', 'off', 'multicast', 'off');
  await ip.run('link', 'set', 'dev', name, 'txqueuelen', String(queueFrames), 'mtu', String(mtu));
  const found = (await routes.interfaces()).find((entry) => entry.name === name);
  if (found === undefined) throw new KernelError(`open punt device ${name}`, 'ENODEV', { detail: 'it vanished' });
  attach(found.ifindex);
  await ip.run('link', 'set', 'dev', name, 'up');
  return found.ifindex;
}

/** A kernel without IPv6 has nothing to switch off, and says so with the code. */
function withoutIpv6(code: string): (error: unknown) => void {
  return (error) => {
    if (!(error instanceof KernelError) || error.code !== code) throw error;
  };
}

class TapPuntDevice implements PuntDevice {
  readonly ifindex: number;
  readonly #name: string;
  readonly #fd: number;
  readonly #punts: () => Table | null;
  readonly #watch: { close(): void };
  readonly #buffer = Buffer.from(new ArrayBuffer(frameBytesMax));
  #handler: ((punt: Punt, frame: Uint8Array) => void) | null = null;
  #closed = false;
  #unknown = 0n;

  constructor(name: string, ifindex: number, fd: number, punts: () => Table | null) {
    this.#name = name;
    this.ifindex = ifindex;
    this.#fd = fd;
    this.#punts = punts;
    this.#watch = watchReadable(fd, () => this.#take());
  }

  onPunt(handler: (punt: Punt, frame: Uint8Array) => void): void {
    this.#handler = handler;
  }

  admit(punt: Punt, frame: Uint8Array): Outcome {
    return this.#answer(punt, frame, puntVerb.admit);
  }
  judge(punt: Punt, frame: Uint8Array): Outcome {
    return this.#answer(punt, frame, puntVerb.judge);
  }
  refuse(punt: Punt, frame: Uint8Array, reject: boolean): void {
    this.#answer(punt, frame, reject ? puntVerb.reject : puntVerb.refuse);
  }

  /** Frames that the device's queue had no room for, and frames without a record. */
  lost(): bigint {
    const line = readFileSync('/proc/net/dev', 'utf8')
      .split('\n')
      .find((candidate) => candidate.trim().startsWith(`${this.#name}:`));
    const transmitDropped = line?.split(':')[1]?.trim().split(/\s+/)[11];
    return BigInt(transmitDropped ?? 0) + this.#unknown;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.close();
    close(this.#fd);
  }

  #take(): void {
    for (let taken = 0; taken < framesPerTurnMax && !this.#closed; taken++) {
      const length = read(this.#fd, this.#buffer);
      if (length === -errno['EAGAIN']!) return;
      if (length < 0) throw failure(`read punt device ${this.#name}`, -length);
      const frame = new Uint8Array(this.#buffer.subarray(0, length));
      const punt = length < ethernetHeaderBytes ? null : this.#recordOf(frame);
      if (punt === null || this.#handler === null) this.#unknown++;
      else this.#handler(punt, frame);
    }
  }

  /** What the programs wrote down when they held the frame; null for a frame that is not theirs. */
  #recordOf(frame: Uint8Array): Punt | null {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    if (frame[sourceMacAt] !== localMac || frame[sourceMacAt + 1] !== puntVerb.punted) return null;
    const id = view.getUint32(sourceMacAt + 2, true);
    const table = this.#punts();
    if (table === null) return null;
    table.keyView.setUint32(0, id, true);
    if (!table.lookup()) return null;
    const record = readPunt(table.valueView, 0);
    return {
      id,
      reason: record.reason === puntReason.held ? 'held' : 'ask',
      sourceSlot: record.slot[0],
      destinationSlot: record.slot[1],
      sourceIdentity: record.identity[0],
      destinationIdentity: record.identity[1],
      egressRule: record.rule[0],
      ingressRule: record.rule[1],
      key: {
        protocol: record.protocol,
        source: record.source,
        sourcePort: record.sourcePort,
        destination: record.destination,
        destinationPort: record.destinationPort,
      },
      atNs: record.atNs,
    };
  }

  /** Writes the frame back with the verb; the program has answered when write() returns. */
  #answer(punt: Punt, frame: Uint8Array, verb: number): Outcome {
    const table = this.#punts();
    if (table === null || this.#closed) throw new KernelError('answer a held packet', 'ENODEV');
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    frame[sourceMacAt] = localMac;
    frame[sourceMacAt + 1] = verb;
    view.setUint32(sourceMacAt + 2, punt.id, true);
    const written = write(this.#fd, frame);
    if (written < 0) throw failure('answer a held packet', -written);
    table.keyView.setUint32(0, punt.id, true);
    // The kernel forgot it before the answer came; the program dropped and counted the frame.
    if (!table.take()) return 'stale';
    const { outcome } = readPunt(table.valueView, 0);
    switch (outcome) {
      case puntOutcome.sent:
      case puntOutcome.refused:
        return 'sent';
      case puntOutcome.stale:
        return 'stale';
      case puntOutcome.full:
        return 'full';
      default:
        throw new KernelError('answer a held packet', 'ENOLINK', { detail: 'no program answered on the punt device' });
    }
  }
}
