import type { PeerId, PortTable } from '../model.ts';
import { compareRules, type Tier } from '../resolve/precedence.ts';
import type { NetworkChanges } from './networks.ts';
import type { CidrEntry, PeerEntry } from './peer.ts';
import type { NumberedVerdict, PortTables } from './port-table.ts';
import type { Precedence } from './rule-list.ts';
import type { Selections } from './selections.ts';

/** What every side needs to know of the rest, for one round of changes. */
export interface Round {
  readonly tables: PortTables;
  readonly precedence: Precedence;
  /** Port tables by the rules and the floor that made them; for this round only. */
  readonly made: Map<string, PortTable>;
  readonly unknown: NumberedVerdict;
  readonly others: PeerEntry;
  readonly host: PeerEntry;
  /** Every peer there is, `others` and `unknown` not among them. */
  readonly peers: () => Iterable<PeerEntry>;
  readonly exists: (entry: PeerEntry) => boolean;
  /** Identities that no packet was judged by before this round, and those that none will be judged by after it. */
  readonly identitiesAdded: ReadonlySet<PeerId>;
  readonly identitiesRemoved: ReadonlySet<PeerId>;
  /** For each new prefix the peer that its addresses had before, and for each old one the peer that they have now. */
  readonly coveringBefore: ReadonlyMap<PeerId, PeerId>;
  readonly coveringNow: ReadonlyMap<PeerId, PeerId>;
  /** Whether there are any of these. */
  readonly prefixesChanged: boolean;
}

export interface RoundParts {
  readonly tables: PortTables;
  readonly tiers: ReadonlyMap<string, Tier>;
  readonly selections: Selections;
  readonly fixed: { readonly host: PeerEntry; readonly world: PeerEntry; readonly unknown: NumberedVerdict };
  readonly prefixes: ReadonlySet<CidrEntry>;
  readonly networks: NetworkChanges;
  readonly identitiesAdded: readonly PeerId[];
  readonly identitiesRemoved: readonly PeerId[];
}

export function startRound(parts: RoundParts): Round {
  const { tables, tiers, selections, prefixes, networks } = parts;
  const { host, world, unknown } = parts.fixed;
  return {
    tables,
    precedence: (a, b) => compareRules(tiers, a.rule, b.rule),
    made: new Map(),
    unknown,
    others: selections.others,
    host,
    *peers() {
      yield world;
      yield* selections.identities();
      yield* prefixes;
    },
    exists: (entry) =>
      entry === host ||
      entry === world ||
      prefixes.has(entry as CidrEntry) ||
      selections.identity(entry.peer) === entry,
    identitiesAdded: new Set(parts.identitiesAdded),
    identitiesRemoved: new Set(parts.identitiesRemoved),
    coveringBefore: peerNumbers(networks.added),
    coveringNow: peerNumbers(networks.removed),
    prefixesChanged: networks.added.size + networks.removed.size > 0,
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
  const { coveringBefore, coveringNow, identitiesAdded, identitiesRemoved } = round;
  for (const peer of peers) {
    if (identitiesAdded.has(peer) || identitiesRemoved.has(peer)) continue;
    if (before(coveringBefore.get(peer) ?? peer) !== now(coveringNow.get(peer) ?? peer)) return true;
  }
  return false;
}
