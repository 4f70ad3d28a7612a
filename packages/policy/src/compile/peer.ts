import { type IdentityId, type Labels, namedPortPrefix, type PeerId, reservedIdentity } from '../model.ts';
import { FewSet } from './few-set.ts';
import type { PeerSet } from './peer-set.ts';
import type { Prefix } from '../select/prefix.ts';

/** Whatever a row of the tables can be about. What it is a member of decides its table, and what its ports are named. */
export interface PeerEntry {
  readonly peer: PeerId;
  readonly kind: 'identity' | 'host' | 'world' | 'cidr' | 'learnt' | 'others';
  readonly groups: FewSet<Group>;
  /** See `signatureOf`; null since the groups changed. */
  signature: string | null;
}

export interface LabelledEntry extends PeerEntry {
  labels: Labels;
  /** What it says about named ports, see `portLabels`. */
  ports: string;
}

export interface IdentityEntry extends LabelledEntry {
  readonly peer: PeerId & IdentityId;
  readonly kind: 'identity' | 'others';
}

export interface HostEntry extends LabelledEntry {
  readonly peer: PeerId & IdentityId;
  readonly kind: 'host';
}

export interface CidrEntry extends PeerEntry {
  readonly kind: 'cidr';
  readonly prefix: Prefix;
  /** How many networks of active groups name this prefix. */
  uses: number;
}

/** Peers that one peer of a rule selects. Peer sets are unions of groups, and share them. */
export interface Group {
  readonly key: string;
  /** Distinct among the groups of a compiler. */
  readonly number: number;
  readonly members: FewSet<PeerEntry>;
  readonly peerSets: FewSet<PeerSet>;
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

/** Equal for peers of one kind in the same groups with the same named ports, which therefore have the same table everywhere. */
export function signatureOf(entry: PeerEntry): string {
  entry.signature ??= `${entry.kind} ${Array.from(entry.groups, ({ number }) => number)
    .sort((a, b) => a - b)
    .join(' ')} ${portsOf(entry)}`;
  return entry.signature;
}

/** What the peer says about named ports: nothing, for most. */
export function portsOf(entry: PeerEntry): string {
  return 'ports' in entry ? (entry as LabelledEntry).ports : '';
}

/** The labels about named ports as one text, the same for the same labels. `portLabelsOf` reads it. */
export function portLabels(labels: Labels): string {
  const keys = Object.keys(labels).filter((key) => key.startsWith(namedPortPrefix));
  return keys.length === 0 ? '' : JSON.stringify(keys.sort().map((key) => [key, labels[key]]));
}

export function portLabelsOf(text: string): Labels {
  return text === '' ? {} : Object.fromEntries(JSON.parse(text) as [string, string][]);
}

export function worldEntry(): PeerEntry {
  return { peer: reservedIdentity.world as number as PeerId, kind: 'world', groups: new FewSet(), signature: null };
}

export function hostEntry(): HostEntry {
  const peer = reservedIdentity.host as PeerId & IdentityId;
  return { peer, kind: 'host', labels: {}, ports: '', groups: new FewSet(), signature: null };
}

/** The unknown workload as a subject: in no group, so that no rule speaks for it. */
export function unknownEntry(): IdentityEntry {
  const peer = reservedIdentity.unknown as PeerId & IdentityId;
  return { peer, kind: 'identity', labels: {}, ports: '', groups: new FewSet(), signature: null };
}
