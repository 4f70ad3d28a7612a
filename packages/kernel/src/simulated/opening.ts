/** New entries of the connection table, and entries that are judged again: bpf/first.h. */
import { idleMs, limit } from '../generated/maps.ts';
import type { CounterName, TcpState } from '../port.ts';
import {
  forget,
  idleAtStart,
  isDead,
  keepIfRoom,
  keyOf,
  payBack,
  payerOf,
  reportClose,
  tableKey,
  useConnection,
} from './connections.ts';
import { tell } from './events.ts';
import { isSctp, opensConnection, sctpChunk, tcpFlag, type Packet } from './frame.ts';
import type { Judgement, Seen, Surroundings } from './packet-judging.ts';
import { count, usageOf, type Pair, type TableConnection } from './state.ts';

const protocolTcp = 6;
const nsPerMs = 1_000_000n;

/** Without an agent the programs make room themselves, at most once in an interval. */
function recycleIfAlone(around: Surroundings): boolean {
  const { pinned, nowNs } = around;
  if (nowNs - pinned.heartbeatNs <= BigInt(limit.heartbeatMaxMs) * nsPerMs) return false;
  if (nowNs - pinned.recycleAtNs < BigInt(limit.recycleIntervalMs) * nsPerMs) return false;
  pinned.recycleAtNs = nowNs;
  for (const [key, connection] of pinned.connections) {
    if (!isDead(connection, nowNs)) continue;
    reportClose(pinned, around.limits, connection, nowNs);
    forget(pinned, key);
    count(pinned, 'connections_recycled');
  }
  count(pinned, 'recycle_runs');
  return true;
}

/** Null when there is room, else the bound that was met. */
function takeBudget(around: Surroundings, slot: Pair<number>): CounterName | null {
  const payer = payerOf(slot);
  const usage = usageOf(around.pinned, payer.slot);
  const max = around.pinned.endpoints.get(payer.slot)?.connectionsMax ?? 0;
  const hasRoom = (): boolean => usage.connections[payer.index] < max;
  if (!hasRoom() && !(recycleIfAlone(around) && hasRoom())) return 'budget';
  usage.connections[payer.index]++;
  return null;
}

/** A place for an entry that is new. */
function makeRoom(around: Surroundings, slot: Pair<number>): CounterName | null {
  const { pinned, limits } = around;
  const refused = takeBudget(around, slot);
  if (refused !== null) return refused;
  const isFull = (): boolean => pinned.connections.size >= limits.connectionsMax;
  if (!isFull() || (recycleIfAlone(around) && !isFull())) return null;
  payBack(pinned, slot);
  return 'table_full';
}

/** An entry that is over, or begun again, gives its place to the new one; whoever pays for both needs no more room. */
function replaceOld(around: Surroundings, old: TableConnection, slot: Pair<number>): CounterName | null {
  const { pinned, limits, nowNs } = around;
  reportClose(pinned, limits, old, nowNs);
  const before = payerOf(old.slot);
  const after = payerOf(slot);
  if (before.slot === after.slot && before.index === after.index) return null;
  const refused = takeBudget(around, slot);
  if (refused === null) payBack(pinned, old.slot);
  return refused;
}

export function openConnection(
  around: Surroundings,
  seen: Seen,
  judgement: Judgement,
  isDecided: boolean,
): CounterName | null {
  const { pinned, nowNs } = around;
  const { packet } = seen;
  const { ends, verdict } = judgement;
  const key = tableKey(packet);
  const old = pinned.connections.get(key);
  const slot: Pair<number> = [ends[0].slot, ends[1].slot];
  const refused = old === undefined ? makeRoom(around, slot) : replaceOld(around, old, slot);
  if (refused !== null) return refused;
  const state = stateAtStart(packet);
  pinned.connections.set(key, {
    ...keyOf(packet),
    slot,
    word: [ends[0].word, ends[1].word],
    identity: [ends[0].identity, ends[1].identity],
    rule: [...verdict.rule],
    kept: [false, false],
    state,
    decided: isDecided,
    replied: false,
    reported: false,
    fin: [null, null],
    finAcked: [false, false],
    sequence: packet.sequence,
    overlayHost: ends[0].host ?? ends[1].host,
    revision: pinned.config.revision,
    firstSeenNs: nowNs,
    lastSeenNs: nowNs,
    idleNs: idleAtStart(packet.protocol, state),
    packets: [1n, 0n],
    bytes: [BigInt(seen.bytes), 0n],
  });
  const reason = isDecided ? 'admitted' : 'connections_opened';
  count(pinned, reason);
  tell(around, seen, judgement, { kind: 'new', reason: reason, observed: verdict.observed !== 'allow' });
  return null;
}

function stateAtStart(packet: Packet): TcpState {
  const begins = opensConnection(packet);
  if (isSctp(packet)) return begins ? 'syn-sent' : packet.chunk === sctpChunk.abort ? 'closed' : 'established';
  if (packet.protocol !== protocolTcp) return 'none';
  return begins ? 'syn-sent' : (packet.tcpFlags & tcpFlag.rst) !== 0 ? 'closed' : 'established';
}

/** A rule that ends what lives: the entry stays for a while, for nothing but to tell both ends. */
export function resetConnection(around: Surroundings, seen: Seen, open: TableConnection): void {
  const { pinned, limits, nowNs } = around;
  reportClose(pinned, limits, open, nowNs);
  open.reported = true;
  count(pinned, 'connections_reset');
  const key = tableKey(open);
  if (seen.packet.protocol !== protocolTcp && !isSctp(seen.packet)) {
    forget(pinned, key);
    return;
  }
  open.state = 'reset';
  open.word = ['nobody', 'nobody'];
  open.idleNs = BigInt(idleMs.reset) * nsPerMs;
  open.lastSeenNs = nowNs;
  keepIfRoom(pinned, open);
}

/** An open connection under new words stays the same entry. */
export function judgedAgain(around: Surroundings, seen: Seen, judgement: Judgement, open: TableConnection): null {
  const { pinned, limits, nowNs } = around;
  const { ends, verdict } = judgement;
  const before = payerOf(open.slot);
  open.slot = [ends[0].slot, ends[1].slot];
  const after = payerOf(open.slot);
  if (before.slot !== after.slot || before.index !== after.index) {
    const usage = usageOf(pinned, before.slot);
    if (usage.connections[before.index] > 0) usage.connections[before.index]--;
    usageOf(pinned, after.slot).connections[after.index]++;
  }
  open.word = [ends[0].word, ends[1].word];
  open.identity = [ends[0].identity, ends[1].identity];
  open.rule = [...verdict.rule];
  open.overlayHost = ends[0].host ?? ends[1].host;
  if (verdict.action === 'allow' && !verdict.stays) open.decided = false;
  if (([0, 1] as const).some((side) => verdict.kept[side] && !open.kept[side])) count(pinned, 'connections_kept');
  open.kept = [...verdict.kept];
  if (!verdict.stays) open.revision = pinned.config.revision;
  count(pinned, 'connections_judged_again');
  useConnection(pinned, limits, open, seen.packet, seen.bytes, nowNs);
  return null;
}
