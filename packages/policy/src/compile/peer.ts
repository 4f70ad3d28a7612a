import { type IdentityId, type Labels, type PeerId, reservedIdentity } from '../model.ts';
import type { PeerSet } from './peer-set.ts';
import type { Prefix } from '../select/prefix.ts';

/** Whatever a row of the tables can be about. What it is a member of decides its table, and nothing else does. */
export interface PeerEntry {
  readonly peer: PeerId;
  readonly kind: 'identity' | 'host' | 'world' | 'cidr' | 'others';
  readonly groups: Set<Group>;
  /** See `signatureOf`; null since the groups changed. */
  signature: string | null;
}

export interface IdentityEntry extends PeerEntry {
  readonly peer: PeerId & IdentityId;
  labels: Labels;
}

export interface CidrEntry extends PeerEntry {
  readonly prefix: Prefix;
  /** How many networks of active groups name this prefix. */
  uses: number;
}

/** Peers that one peer of a rule selects. Peer sets are unions of groups, and share them. */
export interface Group {
  readonly key: string;
  /** Distinct among the groups of one kind. */
  readonly number: number;
  readonly members: Set<PeerEntry>;
  readonly peerSets: Set<PeerSet>;
}

/** Told of every peer that enters or leaves a group after the group was made. */
export type MembershipListener = (entry: PeerEntry, group: Group) => void;

export function joinGroup(entry: PeerEntry, group: Group): void {
  entry.groups.add(group);
  entry.signature = null;
  group.members.add(entry);
}

export function leaveGroup(entry: PeerEntry, group: Group): void {
  entry.groups.delete(group);
  entry.signature = null;
  group.members.delete(entry);
}

/** Equal for peers of one kind in the same groups, which therefore have the same table everywhere. */
export function signatureOf(entry: PeerEntry): string {
  entry.signature ??= `${entry.kind} ${Array.from(entry.groups, ({ number }) => number)
    .sort((a, b) => a - b)
    .join(' ')}`;
  return entry.signature;
}

export function fixedPeer(kind: 'host' | 'world', number: number): PeerEntry {
  return { peer: number as PeerId, kind, groups: new Set(), signature: null };
}

/** The unknown workload as a subject: in no group, so that no rule speaks for it. */
export function unknownEntry(): IdentityEntry {
  const peer = reservedIdentity.unknown as PeerId & IdentityId;
  return { peer, kind: 'identity', labels: {}, groups: new Set(), signature: null };
}
