/** The Linux adapter, put together. */
import { fileURLToPath } from 'node:url';
import type { Kernel, PuntDevice } from '../port.ts';
import { monotonicNs } from './libc.ts';
import { LinuxLinks } from './links.ts';
import { LinuxMaps } from './maps.ts';
import { Pins } from './pins.ts';
import { LinuxPrograms } from './programs.ts';
import { openPuntDevice } from './punt.ts';
import { RingEvents } from './ring.ts';
import { LinuxRoutes } from './routes.ts';
import type { Tables } from './tables.ts';

export interface LinuxKernelOptions {
  /** Directory of pins in a bpffs, which is mounted when missing. One directory is one installation. */
  readonly pinRoot?: string;
  /** Directory of the built eBPF objects. */
  readonly objectDirectory?: string;
  /** Name of the punt device. */
  readonly puntName?: string;
  /** How programs are attached; `auto` takes tcx where the kernel has it. */
  readonly mechanism?: 'auto' | 'tcx' | 'clsact';
}

const defaults = {
  pinRoot: '/sys/fs/bpf/bulkhead',
  objectDirectory: fileURLToPath(new URL('../../../../bpf/build', import.meta.url)),
  puntName: 'punt0',
  mechanism: 'auto',
} as const;

/** The least frame that programs are run over; its first byte says whether all held packets are to be forgotten. */
const sweepFrame = new Uint8Array(64);

export interface LinuxKernel extends Kernel {
  readonly mechanism: 'tcx' | 'clsact';
}

/**
 * Opens the kernel of the network namespace that the process runs in. Nothing is changed before `programs.load()`; maps and events
 * answer KernelError ENOENT until then. Disposing lets go of descriptors and memory; what is pinned stays.
 */
export function openLinuxKernel(options: LinuxKernelOptions = {}): LinuxKernel {
  const settings = { ...defaults, ...options };
  const pins = new Pins(settings.pinRoot);
  const sweepPunts = (all: boolean): void => {
    programs.testRun('sweep_punts', sweepFrame.fill(all ? 1 : 0, 0, 1), { ifindex: 0 });
  };
  const maps = new LinuxMaps(() => sweepPunts(false));
  const events = new RingEvents(() => maps.counters().get('events_lost') ?? 0n);
  let tables: Tables | null = null;
  const programs: LinuxPrograms = new LinuxPrograms(pins, settings.objectDirectory, {
    opened: (opened) => {
      tables = opened;
      maps.open(opened);
      events.open(opened.events.fd);
    },
    replaced: () => links.replaceAll(),
    cleared: () => links.clear(),
    closed: () => {
      tables = null;
      maps.close();
      events.close();
    },
  });
  const links = new LinuxLinks(pins, programs, settings.mechanism);
  const devices = new Set<PuntDevice>();
  return {
    maps,
    programs,
    links,
    routes: new LinuxRoutes(),
    events,
    mechanism: links.mechanism,
    openPuntDevice: async () => {
      const device = await openPuntDevice(
        settings.puntName,
        () => tables?.punts ?? null,
        (ifindex) => links.attach(ifindex, 'punt'),
      );
      // Frames that were held for another process went with its descriptor: their senders may ask again.
      sweepPunts(true);
      devices.add(device);
      return device;
    },
    nowNs: monotonicNs,
    [Symbol.asyncDispose]: async () => {
      for (const device of devices) await device[Symbol.asyncDispose]();
      programs.close();
    },
  };
}
