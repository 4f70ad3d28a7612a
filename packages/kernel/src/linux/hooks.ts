/** Which program a hook puts at which direction of an interface. */
import type { Hook } from '../port.ts';
import { attachType } from './bpf.ts';

export type Direction = 'ingress' | 'egress';
export const directions: readonly Direction[] = ['ingress', 'egress'];

/** Names as in bpf/. A hook whose program is not in the objects cannot be attached. */
export const hookPrograms: Readonly<Record<Hook, Readonly<Partial<Record<Direction, string>>>>> = {
  workload: { ingress: 'from_workload', egress: 'to_workload' },
  uplink: { ingress: 'from_uplink', egress: 'to_uplink' },
  overlay: { ingress: 'from_overlay' },
  punt: { ingress: 'from_punt' },
};
/**
 * Where nothing may go on that no program of ours has seen, a second program stands behind the first and drops. The first ends every
 * packet's way through the hook, so the second sees none, until somebody detaches the first.
 */
const closedPrograms: Readonly<Partial<Record<Hook, string>>> = {
  workload: 'closed',
  punt: 'closed',
  uplink: 'closed_uplink',
};

export const hooks = Object.keys(hookPrograms) as readonly Hook[];

export const tcxType: Readonly<Record<Direction, number>> = {
  ingress: attachType.tcxIngress,
  egress: attachType.tcxEgress,
};

/** One program at one direction of one interface; the name of its pin. */
export interface Place {
  readonly hook: Hook;
  readonly ifindex: number;
  readonly direction: Direction;
  /** The first program, or the one behind it. */
  readonly behind: boolean;
}

/** Every place of a hook; those behind come first, so that there is no moment without them. */
export function placesOf(ifindex: number, hook: Hook): readonly Place[] {
  const used = directions.filter((direction) => hookPrograms[hook][direction] !== undefined);
  return (closedPrograms[hook] === undefined ? [false] : [true, false]).flatMap((behind) =>
    used.map((direction) => ({ hook, ifindex, direction, behind })),
  );
}

export function programOf(place: Place): string {
  return place.behind ? closedPrograms[place.hook]! : hookPrograms[place.hook][place.direction]!;
}

export function placeName(place: Place): string {
  return `${place.hook}-${place.ifindex}-${place.direction}${place.behind ? '-behind' : ''}`;
}
export function placeOf(name: string): Place | null {
  const match = /^([a-z]+)-(\d+)-(ingress|egress)(-behind)?$/.exec(name);
  const hook = hooks.find((candidate) => candidate === match?.[1]);
  const direction = directions.find((candidate) => candidate === match?.[3]);
  if (match === null || hook === undefined || direction === undefined) return null;
  return { hook, ifindex: Number(match[2]), direction, behind: match[4] !== undefined };
}
