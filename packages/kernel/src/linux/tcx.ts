/** Attachment through tcx links (Linux 6.6), pinned so that they outlive the process. */
import { existsSync, readdirSync, unlinkSync } from 'node:fs';
import { KernelError, type Hook } from '../port.ts';
import { createTcxLink, detachLink, getPinned, pin, programInfo, tcxLinkInfo, updateLink } from './bpf.ts';
import { placeName, placeOf, tcxType, type Place } from './hooks.ts';
import { close, failure } from './libc.ts';

/** What links and filters have in common. */
export interface Attachments {
  /** Puts the program there, in place of whatever of ours was there before. */
  attach(place: Place, program: string, programFd: number): void;
  detach(place: Place): void;
  /** Read from the kernel: places with the program that is there now, of one hook or of all. */
  list(hook?: Hook): readonly { readonly place: Place; readonly programId: number }[];
}

function withFd<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    close(fd);
  }
}

export class TcxLinks implements Attachments {
  readonly #directory: string;
  constructor(directory: string) {
    this.#directory = directory;
  }

  attach(place: Place, program: string, programFd: number): void {
    const path = this.#path(place);
    const existing = getPinned(path);
    if (existing !== null) {
      const kept = withFd(existing, (fd) => {
        const info = tcxLinkInfo(fd);
        // The pin of a deleted interface stays behind, also where another interface has its number now.
        if (info?.ifindex !== place.ifindex) return false;
        if (info.programId !== programInfo(programFd).id) updateLink(fd, programFd);
        return true;
      });
      if (kept) return;
      unlinkSync(path);
    }
    const made = createTcxLink(programFd, place.ifindex, tcxType[place.direction], !place.behind);
    if (made < 0) throw failure(`attach ${program} to interface ${place.ifindex}`, -made);
    withFd(made, (fd) => pin(fd, path));
  }

  detach(place: Place): void {
    const path = this.#path(place);
    const existing = getPinned(path);
    if (existing === null) return;
    withFd(existing, (fd) => {
      if (tcxLinkInfo(fd)?.ifindex === place.ifindex) detachLink(fd);
    });
    unlinkSync(path);
  }

  list(hook?: Hook): readonly { readonly place: Place; readonly programId: number }[] {
    if (!existsSync(this.#directory)) return [];
    return readdirSync(this.#directory).flatMap((name) => {
      const place = placeOf(name);
      if (hook !== undefined && place?.hook !== hook) return [];
      const fd = place === null ? null : getPinned(`${this.#directory}/${name}`);
      if (place === null || fd === null) return [];
      const info = withFd(fd, tcxLinkInfo);
      if (info?.ifindex !== place.ifindex) return [];
      if (info.type !== tcxType[place.direction]) throw new KernelError(`read link ${name}`, 'EPROTO');
      return [{ place, programId: info.programId }];
    });
  }

  /** Unlinks the pins of interfaces that are gone. */
  prune(): void {
    const alive = new Set(this.list().map((entry) => placeName(entry.place)));
    for (const name of readdirSync(this.#directory)) {
      if (placeOf(name) !== null && !alive.has(name)) unlinkSync(`${this.#directory}/${name}`);
    }
  }

  #path(place: Place): string {
    return `${this.#directory}/${placeName(place)}`;
  }
}
