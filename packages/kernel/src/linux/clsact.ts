/**
 * Attachment through the clsact queueing discipline, for kernels without tcx: filters made by tc from pinned programs. A filter's
 * preference and handle are ours, so that replacing it is one step and others' filters stay.
 */
import { KernelError, type Hook } from '../port.ts';
import { runToolSync, toolError } from './command.ts';
import { directions, hooks, placesOf, programOf, type Direction, type Place } from './hooks.ts';
import type { Attachments } from './tcx.ts';

/** Of the first program, and of those behind it. Filters with a lower preference run first; the first ends a packet's way. */
const preferences = { first: '1', behind: '2' } as const;
/** What is behind has one name for all hooks, so its handle tells the hook. */
const handles = { first: '0xb1', workload: '0xb2', punt: '0xb3', uplink: '0xb4', overlay: '0xb5' } as const;
const filterWords = (place: Place): readonly string[] => [
  ...['pref', place.behind ? preferences.behind : preferences.first],
  ...['handle', place.behind ? handles[place.hook] : handles.first],
];

interface TcFilter {
  readonly kind?: string;
  readonly options?: {
    readonly handle?: string;
    readonly bpf_name?: string;
    readonly prog?: { readonly name?: string; readonly id?: number };
  };
}
interface TcDiscipline {
  readonly kind: string;
  readonly dev: string;
}
interface IpLink {
  readonly ifindex: number;
  readonly ifname: string;
}

function tc(operation: string, args: readonly string[]): string {
  const finished = runToolSync('tc', args);
  if (finished.failed) throw toolError(operation, finished.complaint);
  return finished.output;
}
/** An interface may vanish between the list of disciplines and this one. */
function filtersOf(device: string, direction: string): string {
  const finished = runToolSync('tc', ['-j', 'filter', 'show', 'dev', device, direction]);
  if (!finished.failed) return finished.output;
  const error = toolError(`list filters of ${device}`, finished.complaint);
  if (error.code !== 'ENODEV') throw error;
  return '';
}
/** The kernel keeps fifteen characters of a program's name. */
function keptName(program: string): string {
  return program.slice(0, 15);
}

function placeOfFilter(filter: TcFilter, ifindex: number, direction: Direction): Place | undefined {
  const { handle, prog } = filter.options ?? {};
  return hooks
    .flatMap((hook) => placesOf(ifindex, hook))
    .find(
      (place) =>
        place.direction === direction &&
        filterWords(place).at(-1) === handle &&
        keptName(programOf(place)) === prog?.name,
    );
}

export class ClsactFilters implements Attachments {
  /** Where the program with this name is pinned now. */
  readonly #pinOf: (program: string) => string;
  constructor(pinOf: (program: string) => string) {
    this.#pinOf = pinOf;
  }

  attach(place: Place, program: string): void {
    const device = this.#nameOf(place.ifindex);
    const operation = `attach ${program} to interface ${place.ifindex}`;
    const discipline = runToolSync('tc', ['qdisc', 'add', 'dev', device, 'clsact']);
    if (discipline.failed) {
      const error = toolError(operation, discipline.complaint);
      if (error.code !== 'EEXIST') throw error;
    }
    const filter = ['filter', 'replace', 'dev', device, place.direction, ...filterWords(place)];
    tc(operation, filter.concat(['bpf', 'direct-action', 'pinned', this.#pinOf(program)]));
  }

  detach(place: Place): void {
    const operation = `detach ${place.hook} from interface ${place.ifindex}`;
    try {
      const device = this.#nameOf(place.ifindex);
      tc(operation, ['filter', 'delete', 'dev', device, place.direction, ...filterWords(place), 'bpf']);
    } catch (error) {
      if (!(error instanceof KernelError) || !['ENODEV', 'ENOENT', 'EINVAL'].includes(error.code)) throw error;
    }
  }

  list(hook?: Hook): readonly { readonly place: Place; readonly programId: number }[] {
    const indexes = new Map(this.#links().map((link) => [link.ifname, link.ifindex]));
    const disciplines = JSON.parse(tc('list queueing disciplines', ['-j', 'qdisc', 'show'])) as TcDiscipline[];
    const found: { place: Place; programId: number }[] = [];
    for (const { dev } of disciplines.filter((discipline) => discipline.kind === 'clsact')) {
      for (const direction of directions) {
        const text = filtersOf(dev, direction);
        for (const filter of JSON.parse(text === '' ? '[]' : text) as TcFilter[]) {
          const ifindex = indexes.get(dev);
          const place = ifindex === undefined ? undefined : placeOfFilter(filter, ifindex, direction);
          if (place !== undefined && (hook ?? place.hook) === place.hook)
            found.push({ place, programId: filter.options?.prog?.id ?? 0 });
        }
      }
    }
    return found;
  }

  #links(): readonly IpLink[] {
    const finished = runToolSync('ip', ['-j', 'link', 'show']);
    if (finished.failed) throw toolError('list interfaces', finished.complaint);
    return JSON.parse(finished.output) as IpLink[];
  }

  #nameOf(ifindex: number): string {
    const link = this.#links().find((candidate) => candidate.ifindex === ifindex);
    if (link === undefined) throw new KernelError(`find interface ${ifindex}`, 'ENODEV');
    return link.ifname;
  }
}
