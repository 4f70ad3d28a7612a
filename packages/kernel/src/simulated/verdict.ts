/** Who the two ends of a packet are, and what the rows in force say about them: bpf/verdict.h over the simulated tables. */
import { parseCidr, writeAddress } from '../address.ts';
import type { CounterName, EndpointEntry, EndpointState, KernelVerdict, PortRoot, VerdictAction } from '../port.ts';
import { limit } from '../generated/maps.ts';
import { everyAddressLike, hostPortText } from '../host-port.ts';
import { decodeVerdict, isVerdict } from '../port-nodes.ts';
import { lookUp } from '../port-tree.ts';
import { learntKey, type Pair, type Pinned } from './state.ts';

export const identity = { host: 1, world: 2, unknown: 3 } as const;

export interface Party {
  readonly slot: number;
  readonly identity: number;
  readonly owner: 'endpoint' | 'remote' | 'host' | 'nobody';
  readonly state: EndpointState | 'none';
  /** '' where the side is no endpoint. */
  readonly word: string;
  readonly ruleset: number;
  /** Outer address of a remote workload's host. */
  readonly host: string | null;
  /** What it learnt by names may speak for its peers. */
  readonly learns: boolean;
  /** The rule of the guard that allows it at the host's own end. */
  readonly guard: number;
}

/** What the entry of a live connection says, which is judged again. */
export interface Recorded {
  readonly rule: Pair<number>;
  readonly kept: Pair<boolean>;
}

export function wordOf(endpoint: EndpointEntry): string {
  return `${endpoint.identity}.${endpoint.ruleset}.${endpoint.epoch}`;
}

export function endpointParty(endpoint: EndpointEntry): Party {
  return {
    slot: endpoint.slot,
    identity: endpoint.state === 'held' ? identity.unknown : endpoint.identity,
    owner: 'endpoint',
    state: endpoint.state,
    word: wordOf(endpoint),
    ruleset: endpoint.ruleset,
    host: null,
    learns: endpoint.learns === true,
    guard: 0,
  };
}

const outside = { slot: 0, word: '', ruleset: 0, state: 'none', host: null, learns: false, guard: 0 } as const;

export function partyOf(pinned: Pinned, address: string): Party {
  const owner = pinned.addresses.get(address);
  if (owner === undefined) return { ...outside, owner: 'nobody', identity: cidrPeer(pinned, address) };
  if (owner.kind === 'host') {
    const host = pinned.endpoints.get(limit.hostSlot);
    const own = host === undefined ? outside : endpointParty(host);
    return { ...own, owner: 'host', identity: identity.host };
  }
  if (owner.kind === 'remote') return { ...outside, owner: 'remote', identity: owner.identity, host: owner.host };
  const endpoint = pinned.endpoints.get(owner.slot);
  // An address whose endpoint is gone belongs to nobody who may speak or listen.
  if (endpoint === undefined) return { ...outside, owner: 'endpoint', identity: 0, state: 'fenced' };
  return endpointParty(endpoint);
}

/** The peer that an address outside is to whoever asked for it by name. `isOpen`: also where its time is over. */
export function withLearnt(pinned: Pinned, mine: Party, far: Party, address: string, isOpen: boolean): Party {
  if (!mine.learns || far.owner !== 'nobody') return far;
  const found = pinned.learnt.get(learntKey({ slot: mine.slot, address }));
  return found === undefined || (found.lapsed && !isOpen) ? far : { ...far, identity: found.peer };
}

/** The peer of the longest network that holds the address. */
export function cidrPeer(pinned: Pinned, address: string): number {
  let best = { bits: -1, peer: identity.world as number };
  for (const [text, peer] of pinned.cidrs) {
    // An IPv6 network says nothing about IPv4 addresses, although those lie within it when mapped.
    if (text.includes(':') !== address.includes(':')) continue;
    const cidr = parseCidr(text);
    if (cidr.prefixBits > best.bits && holds(cidr.address, cidr.prefixBits, address))
      best = { bits: cidr.prefixBits, peer };
  }
  return best.peer;
}

/** Still the host's address, but not the host's own doing. */
export function disowned(party: Party): Party {
  return { ...outside, owner: party.owner, identity: party.identity };
}

/** The rule of the guard that allows a connection at one end, else 0. */
export function guardOf(pinned: Pinned, party: Party, side: 0 | 1, far: string, point: number): number {
  if (party.slot !== limit.hostSlot) return 0;
  const wanted = { kind: 'guard', direction: side === 0 ? 'egress' : 'ingress', rule: 0, ...portOf(point) } as const;
  const found = [far, everyAddressLike(far)]
    .map((address) => pinned.hostPorts.get(hostPortText({ ...wanted, address })))
    .find((entry) => entry !== undefined);
  return found?.kind === 'guard' ? found.rule : 0;
}

export function isPublished(pinned: Pinned, address: string, point: number): boolean {
  return [address, everyAddressLike(address)].some((each) =>
    pinned.hostPorts.has(hostPortText({ kind: 'published', ...portOf(point), address: each })),
  );
}

function portOf(point: number): { readonly protocol: number; readonly port: number } {
  return { protocol: Math.floor(point / 0x10000), port: point % 0x10000 };
}

const network = new DataView(new ArrayBuffer(16));
const candidate = new DataView(new ArrayBuffer(16));
function holds(networkAddress: string, prefixBits: number, address: string): boolean {
  writeAddress(networkAddress, network, 0);
  writeAddress(address, candidate, 0);
  for (let bit = 0; bit < prefixBits; bit++) {
    const mask = 0x80 >>> (bit & 7);
    if (((network.getUint8(bit >> 3) ^ candidate.getUint8(bit >> 3)) & mask) !== 0) return false;
  }
  return true;
}

export interface Judged {
  readonly action: VerdictAction;
  readonly reason: CounterName;
  readonly rule: Pair<number>;
  /** Rules of the sides that ask, else 0. */
  readonly asked: Pair<number>;
  /** An end is held: nobody can be judged yet. */
  readonly wait: boolean;
  /** What an observed end would have done. */
  readonly observed: VerdictAction;
  readonly kept: Pair<boolean>;
  /** The rows of a side stand between two others. */
  readonly stays: boolean;
  /** A side ends the live connection. */
  readonly resets: boolean;
}

export function severity(action: VerdictAction): number {
  if (action === 'allow') return 0;
  return action === 'ask' ? 1 : 2;
}

export function rowKey(ruleset: number, side: number, peer: number): string {
  return `${ruleset * 2 + side}/${peer}`;
}

/** The verdict of one side; null where there is no row at all. */
function sideVerdict(pinned: Pinned, ruleset: number, side: number, peer: number, point: number): KernelVerdict | null {
  const root = pinned.rows.get(rowKey(ruleset, side, peer)) ?? pinned.rows.get(rowKey(ruleset, side, 0));
  return root === undefined ? null : verdictOf(pinned, root, point);
}

function verdictOf(pinned: Pinned, root: PortRoot, point: number): KernelVerdict | null {
  let missing = false;
  const reference = lookUp(root, point, (at) => {
    const node = isVerdict(at) ? undefined : pinned.nodes.get(at);
    missing ||= node === undefined && !isVerdict(at);
    return node ?? null;
  });
  return missing ? null : decodeVerdict(reference);
}

/** What a side's verdict does to a live connection. */
interface Live {
  readonly action: VerdictAction;
  readonly rule: number;
  readonly isKept: boolean;
  readonly resets: boolean;
}

function forLive(verdict: KernelVerdict, recorded: Recorded, side: 0 | 1): Live {
  const isOther = verdict.rule !== recorded.rule[side];
  const wasKept = recorded.kept[side];
  switch (verdict.live) {
    case 'stay':
      return { action: 'allow', rule: recorded.rule[side], isKept: wasKept, resets: false };
    case 'keep':
      if (isOther || wasKept) return { action: 'allow', rule: verdict.rule, isKept: true, resets: false };
      break;
    case 'reset':
      return { ...verdict, isKept: false, resets: isOther };
  }
  return { ...verdict, isKept: false, resets: false };
}

/**
 * `ends[0]` opens the connection. Deny and reject are above ask, ask above allow; of two denials the egress side's form counts.
 * `recorded`: of the live connection that is judged again.
 */
export function judge(pinned: Pinned, ends: Pair<Party>, point: number, recorded: Recorded | null): Judged {
  const kept: Pair<boolean> = [false, false];
  let stays = false;
  let resets = false;
  const rule: Pair<number> = [0, 0];
  const asked: Pair<number> = [0, 0];
  let action: VerdictAction = 'allow';
  let reason: CounterName = 'denied';
  let observed: VerdictAction = 'allow';
  const wait = ends.some((end) => end.state === 'held');
  if (ends.some((end) => end.state === 'fenced'))
    return { action: 'deny', reason: 'fenced', rule, asked, wait: false, observed, kept, stays, resets };
  for (const side of wait ? [] : ([0, 1] as const)) {
    const mine = ends[side];
    if (mine.slot === 0) continue;
    const guard: KernelVerdict | null = mine.guard === 0 ? null : { action: 'allow', rule: mine.guard };
    const found = guard ?? sideVerdict(pinned, mine.ruleset, side, ends[side === 0 ? 1 : 0].identity, point);
    const verdict: KernelVerdict = found ?? { action: 'deny', rule: 0 };
    rule[side] = verdict.rule;
    if (mine.state === 'observed') {
      if (severity(verdict.action) > severity(observed)) observed = verdict.action;
      continue;
    }
    const live = recorded === null ? { ...verdict, isKept: false, resets: false } : forLive(verdict, recorded, side);
    rule[side] = live.rule;
    kept[side] = live.isKept;
    stays ||= recorded !== null && verdict.live === 'stay';
    resets ||= live.resets;
    if (live.action === 'ask') asked[side] = verdict.rule;
    if (severity(live.action) > severity(action)) {
      action = live.action;
      // The programs know a missing row by its value, which a denial by rule 0 has too.
      const isMissing = verdict.action === 'deny' && verdict.rule === 0 && verdict.live === undefined;
      reason = verdict.action === 'reject' ? 'rejected' : isMissing ? 'no_row' : 'denied';
    }
  }
  return { action, reason, rule, asked, wait, observed, kept, stays, resets };
}
