import type { SegmentDocument } from '../documents/document.ts';
import { factPrefix, type Labels } from '../model.ts';
import { prefixContains, type PrefixBits } from '../select/prefix.ts';
import { labelOf, type Selector, selectorMatches } from '../select/selector.ts';
import { type Network, resolveNetwork } from './peers.ts';

export type PostureAction = 'allow' | 'deny' | 'reject';

/** The least isolation that a segment's workloads must have been measured to have. */
export interface IsolationDemand {
  readonly class: 'shared' | 'sandbox' | 'microvm';
  readonly boundary: 'hardware' | null;
  readonly allowEmulated: boolean;
}

/** What a workload must be proven to be before its claim of labels counts; an empty list demands nothing. */
export interface Bind {
  readonly images: readonly string[];
  readonly hosts: readonly string[];
}

export interface Segment {
  readonly name: string;
  /** Selects workloads; null where the segment is networks alone. */
  readonly selector: Selector | null;
  readonly networks: readonly Network[];
  /** The machines that are in it: all, or those of the names. */
  readonly hosts: 'all' | readonly string[];
  /** Whether its hosts stay within reach whatever the rules say. */
  readonly lockOutGuard: boolean;
  readonly bind: Bind;
  readonly posture: { readonly egress: PostureAction; readonly ingress: PostureAction };
  readonly isolation: IsolationDemand | null;
  readonly dataset: string | null;
}

const resolvedSegments = new WeakMap<SegmentDocument, Segment>();

export function segmentOf(document: SegmentDocument): Segment {
  let segment = resolvedSegments.get(document);
  if (segment === undefined) {
    segment = resolveSegment(document);
    resolvedSegments.set(document, segment);
  }
  return segment;
}

function resolveSegment({ metadata, spec }: SegmentDocument): Segment {
  const { isolation } = spec.posture ?? {};
  return {
    name: metadata.name,
    selector: spec.selector ?? null,
    networks: (spec.networks ?? []).map(({ cidr, except }) => resolveNetwork(cidr, except)),
    hosts: spec.hosts?.all === true ? 'all' : (spec.hosts?.names ?? []),
    lockOutGuard: spec.lockOutGuard ?? true,
    bind: { images: spec.bind?.images ?? [], hosts: spec.bind?.hosts ?? [] },
    posture: { egress: spec.posture?.egress ?? 'deny', ingress: spec.posture?.ingress ?? 'deny' },
    isolation:
      isolation === undefined
        ? null
        : {
            class: isolation.class,
            boundary: isolation.boundary ?? null,
            allowEmulated: isolation.allowEmulated ?? false,
          },
    dataset: spec.dataset ?? null,
  };
}

/** `unproven`: the labels claim membership, and a fact that the segment is bound to does not prove it: no member. */
export type Membership =
  | { readonly kind: 'member' }
  | { readonly kind: 'not-selected' }
  | { readonly kind: 'unproven'; readonly why: string };

export function membershipOf(segment: Segment, labels: Labels): Membership {
  if (segment.selector === null || !selectorMatches(segment.selector, labels)) return { kind: 'not-selected' };
  const { images, hosts } = segment.bind;
  const image = labelOf(labels, imageFact);
  if (images.length > 0 && (image === undefined || !images.includes(image))) {
    return { kind: 'unproven', why: `its image ${image ?? 'is not known and'} is none that the segment is bound to` };
  }
  const host = labelOf(labels, hostFact);
  if (hosts.length > 0 && (host === undefined || !hosts.includes(host))) {
    return { kind: 'unproven', why: `its host ${host ?? 'is not known and'} is none that the segment is bound to` };
  }
  return { kind: 'member' };
}

/** True where the machine with these labels is in the segment. Its name is a fact that its agent's certificate proves. */
export function hasHost({ hosts }: Segment, labels: Labels): boolean {
  if (hosts === 'all') return true;
  const name = labelOf(labels, hostFact);
  return name !== undefined && hosts.includes(name);
}

const imageFact = `${factPrefix}image`;
const hostFact = `${factPrefix}host`;
const classFact = `${factPrefix}class`;
const boundaryFact = `${factPrefix}boundary`;

export function inNetwork(network: Network, address: PrefixBits): boolean {
  return (
    prefixContains(network.prefix.bits, address) && !network.except.some(({ bits }) => prefixContains(bits, address))
  );
}

const classRank: Readonly<Record<string, number>> = { shared: 0, sandbox: 1, microvm: 2 };

/** Whether what was measured satisfies the demand. Emulation is no boundary: an emulated machine counts as `shared` unless allowed. */
export function isolationSuffices(demand: IsolationDemand, labels: Labels): boolean {
  const boundary = labelOf(labels, boundaryFact);
  const walled = boundary === 'hardware' || (boundary === 'emulated' && demand.allowEmulated);
  if (demand.boundary === 'hardware' && !walled) return false;
  const measured = labelOf(labels, classFact) ?? '';
  const rank = Object.hasOwn(classRank, measured) ? classRank[measured]! : -1;
  return (rank === classRank['microvm'] && !walled ? 0 : rank) >= classRank[demand.class]!;
}
