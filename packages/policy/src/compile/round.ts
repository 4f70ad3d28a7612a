import type { PeerId, PortTable } from '../model.ts';
import type { LearntChanges, LearntPeers } from './learnt.ts';
import type { NetworkChanges } from './networks.ts';
import type { CidrEntry, PeerEntry } from './peer.ts';
import type { PortTables } from './port-table.ts';
import type { RuleOrder } from './rule-order.ts';
import type { Selections } from './selections.ts';

/** What every side needs to know of the rest, for one round of changes. */
export interface Round {
  readonly tables: PortTables;
  readonly order: RuleOrder;
  /** Port tables by the rules and the floor that made them; for this round only. */
  readonly made: Map<string, PortTable>;
  readonly others: PeerEntry;
  readonly host: PeerEntry;
  readonly identities: () => Iterable<PeerEntry>;
  /** Of these, those that say what some port of theirs is named. */
  readonly withPorts: Iterable<PeerEntry>;
  /** The peers that addresses outside have. */
  readonly outside: () => Iterable<PeerEntry>;
  readonly exists: (entry: PeerEntry) => boolean;
  /** Peers that no packet was judged by before this round, and those that none will be judged by after it. */
  readonly peersAdded: ReadonlySet<PeerId>;
  readonly peersRemoved: ReadonlySet<PeerId>;
  /** For each peer that addresses get in this round the one that they had, and for each that they lose the one that they have now. */
  readonly before: ReadonlyMap<PeerId, PeerId>;
  readonly now: ReadonlyMap<PeerId, PeerId>;
  /** Whether there are any of these. */
  readonly addressesMoved: boolean;
}

export interface RoundParts {
  readonly tables: PortTables;
  readonly order: RuleOrder;
  readonly selections: Selections;
  readonly host: PeerEntry;
  readonly world: PeerEntry;
  readonly prefixes: ReadonlySet<CidrEntry>;
  readonly learnt: LearntPeers;
  readonly networkChanges: NetworkChanges;
  readonly learntChanges: LearntChanges;
  readonly identitiesAdded: readonly PeerId[];
  readonly identitiesRemoved: readonly PeerId[];
}

export function startRound(parts: RoundParts): Round {
  const { tables, order, selections, host, world, prefixes, learnt, networkChanges, learntChanges } = parts;
  const moved = learntChanges.moves.map(({ learnt: { peer }, from }) => [peer!, from] as const);
  const before = new Map([...peerNumbers(networkChanges.added), ...moved]);
  const learntAdded = Array.from(learntChanges.added, ({ peer }) => peer).filter((peer) => !before.has(peer));
  return {
    tables,
    order,
    made: new Map(),
    others: selections.others,
    host,
    identities: () => selections.identities(),
    withPorts: selections.withPorts,
    *outside() {
      yield world;
      yield* prefixes;
      yield* learnt.entries();
    },
    exists: (entry) =>
      entry === host ||
      entry === world ||
      prefixes.has(entry as CidrEntry) ||
      learnt.has(entry) ||
      selections.identity(entry.peer) === entry,
    peersAdded: new Set([...parts.identitiesAdded, ...learntAdded]),
    peersRemoved: new Set([...parts.identitiesRemoved, ...Array.from(learntChanges.removed, ({ peer }) => peer)]),
    before,
    now: peerNumbers(networkChanges.removed),
    addressesMoved: before.size + networkChanges.removed.size > 0,
  };
}

function peerNumbers(entries: ReadonlyMap<PeerEntry, PeerEntry>): Map<PeerId, PeerId> {
  return new Map([...entries].map(([{ peer }, covering]) => [peer, covering.peer]));
}

/** The table that a peer meets. */
export type TableOf = (peer: PeerId) => PortTable;

/**
 * Whether a packet that could be judged before this round is judged otherwise now, by a peer without change of its own.
 * `peers`: those whose tables may differ.
 */
export function verdictChanged(round: Round, before: TableOf, now: TableOf, peers: Iterable<PeerId>): boolean {
  for (const peer of peers) {
    if (round.peersAdded.has(peer) || round.peersRemoved.has(peer)) continue;
    if (before(round.before.get(peer) ?? peer) !== now(round.now.get(peer) ?? peer)) return true;
  }
  return false;
}
