/** Attachments of programs to interfaces, through tcx or clsact, whichever the kernel has. */
import { KernelError, type Hook, type Links } from '../port.ts';
import { tcxSupported } from './bpf.ts';
import { ClsactFilters } from './clsact.ts';
import { placeName, placesOf, programOf, type Place } from './hooks.ts';
import type { Pins } from './pins.ts';
import { TcxLinks, type Attachments } from './tcx.ts';

/** The programs that are to be attached now. */
export interface CurrentPrograms {
  fd(name: string): number | undefined;
  pinOf(name: string): string;
}

export class LinuxLinks implements Links {
  readonly mechanism: 'tcx' | 'clsact';
  readonly #programs: CurrentPrograms;
  readonly #attachments: Attachments;
  readonly #tcx: TcxLinks | null;

  constructor(pins: Pins, programs: CurrentPrograms, mechanism: 'tcx' | 'clsact' | 'auto') {
    this.#programs = programs;
    this.mechanism = mechanism === 'auto' ? (tcxSupported() ? 'tcx' : 'clsact') : mechanism;
    this.#tcx = this.mechanism === 'tcx' ? new TcxLinks(pins.links) : null;
    this.#attachments = this.#tcx ?? new ClsactFilters((name) => programs.pinOf(name));
  }

  attach(ifindex: number, hook: Hook): void {
    for (const place of placesOf(ifindex, hook)) this.#put(place);
  }

  detach(ifindex: number, hook: Hook): void {
    for (const place of placesOf(ifindex, hook).toReversed()) this.#attachments.detach(place);
  }

  /** Complete attachments only: a hook that lost one of its directions, or what stands behind them, is not attached. */
  attached(hook?: Hook): readonly { readonly ifindex: number; readonly hook: Hook }[] {
    const places = this.#attachments.list(hook).map((entry) => entry.place);
    const names = new Set(places.map(placeName));
    return places
      .filter((place) => place.direction === 'ingress' && !place.behind)
      .filter((place) => placesOf(place.ifindex, place.hook).every((wanted) => names.has(placeName(wanted))))
      .map((place) => ({ ifindex: place.ifindex, hook: place.hook }));
  }

  /** Puts the current programs behind every attachment; each changes in one step. */
  replaceAll(): void {
    this.#tcx?.prune();
    for (const { place } of this.#attachments.list()) this.#put(place);
  }

  /** Detaches everything. */
  clear(): void {
    for (const { place } of this.#attachments.list()) this.#attachments.detach(place);
    this.#tcx?.prune();
  }

  #put(place: Place): void {
    const name = programOf(place);
    const fd = this.#programs.fd(name);
    if (fd === undefined) throw new KernelError(`attach ${name}`, 'ENOENT', { detail: 'the program is not loaded' });
    this.#attachments.attach(place, name, fd);
  }
}
