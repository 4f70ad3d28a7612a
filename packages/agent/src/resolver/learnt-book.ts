/**
 * Which addresses the endpoints of this host learnt by which names, each for its own while. Written down before it counts, so that a
 * restart of the agent neither forgets nor widens it. Time is an argument.
 */
import type { AgentState, Records } from '../state.ts';
import type { LearntAddress } from './learnt-names.ts';

export const learntLimits = {
  /** A name that lives shorter is kept so long, seconds: clients use an answer a little longer than they should. */
  ttlSecondsMin: 30,
  ttlSecondsMax: 3600,
  /** Beyond the time to live: for a client that connects with what it has just looked up. */
  graceSeconds: 60,
  /** Addresses that one endpoint may have learnt at one time; the one that would go first makes room for the next. */
  addressesPerEndpointMax: 512,
  /** Names that one endpoint has for one address. */
  namesPerAddressMax: 16,
} as const;

/** An address as one endpoint knows it. `lapsed`: its time is over, and it stays for the live connections to it. */
export interface Learnt {
  readonly address: string;
  readonly names: readonly string[];
  readonly lapsed: boolean;
}

interface Entry {
  /** Name → milliseconds since the epoch until which it counts. */
  readonly names: Map<string, number>;
  /** The names alone: another object only where they are others. */
  list: readonly string[];
  lapsed: boolean;
}

interface Stored {
  readonly names: readonly (readonly [name: string, untilMs: number])[];
  readonly lapsed: boolean;
}

export interface LearntCounts {
  /** Addresses that were made room for: an endpoint had its full number. */
  displaced: number;
  /** Addresses whose time ended. */
  lapsed: number;
}

export class LearntBook {
  readonly #state: AgentState;
  readonly #records: Records<Stored>;
  readonly #endpoints = new Map<string, Map<string, Entry>>();
  readonly counts: LearntCounts = { displaced: 0, lapsed: 0 };
  #version = 0;

  /** `isKnown`: an endpoint that is still there. Whatever was written for another, or for a time that no clock of ours gives, is dropped. */
  constructor(state: AgentState, isKnown: (endpoint: string) => boolean, nowMs: number) {
    this.#state = state;
    this.#records = state.records('learnt', (value) => value as Stored);
    const latestMs = latestEnd(nowMs);
    for (const [key, stored] of this.#records.entries()) {
      const [endpoint, address] = splitKey(key);
      if (!isKnown(endpoint)) {
        this.#records.delete(key);
        continue;
      }
      const names = new Map(stored.names.map(([name, untilMs]) => [name, Math.min(untilMs, latestMs)]));
      this.#of(endpoint).set(address, { names, list: [...names.keys()], lapsed: stored.lapsed });
    }
  }

  /** Grows with every change of who has learnt what. */
  get version(): number {
    return this.#version;
  }

  /** All addresses of one endpoint. */
  *learnt(endpoint: string): Generator<Learnt> {
    for (const [address, { list, lapsed }] of this.#endpoints.get(endpoint) ?? [])
      yield { address, names: list, lapsed };
  }

  names(endpoint: string, address: string): readonly string[] {
    return this.#endpoints.get(endpoint)?.get(address)?.list ?? [];
  }

  get size(): number {
    let size = 0;
    for (const entries of this.#endpoints.values()) size += entries.size;
    return size;
  }

  /** True where more than the time of known names changed. */
  learn(endpoint: string, answer: readonly LearntAddress[], nowMs: number): boolean {
    const before = this.#version;
    this.#state.transaction(() => {
      for (const learnt of answer) this.#learnAddress(endpoint, learnt, nowMs);
    }, 'process');
    return this.#version !== before;
  }

  /**
   * Ends what is over. A name goes at its time; the last one of an address stays with it, lapsed, while `isLive` says that a connection
   * uses it, and so does any other while one does, since the connection may be there by its name.
   */
  expire(nowMs: number, isLive: (endpoint: string, address: string) => boolean): boolean {
    const before = this.#version;
    this.#state.transaction(() => {
      for (const [endpoint, entries] of this.#endpoints)
        for (const [address, entry] of entries) this.#expireEntry(endpoint, address, entry, nowMs, isLive);
    }, 'process');
    return this.#version !== before;
  }

  /** Whether `expire` would find anything, so that nobody walks connections for nothing. A clock that was set back gives no name more time. */
  hasExpired(nowMs: number): boolean {
    const latestMs = latestEnd(nowMs);
    let found = false;
    for (const entries of this.#endpoints.values()) {
      for (const { names } of entries.values()) {
        for (const [name, untilMs] of names) {
          if (untilMs > latestMs) names.set(name, latestMs);
          found ||= untilMs <= nowMs;
        }
      }
    }
    return found;
  }

  forget(endpoint: string): void {
    const entries = this.#endpoints.get(endpoint);
    if (entries === undefined) return;
    this.#endpoints.delete(endpoint);
    this.#version++;
    this.#state.transaction(() => {
      for (const address of entries.keys()) this.#records.delete(keyOf(endpoint, address));
    }, 'process');
  }

  #learnAddress(endpoint: string, { address, names, ttlSeconds }: LearntAddress, nowMs: number): void {
    const { ttlSecondsMin, ttlSecondsMax, graceSeconds, namesPerAddressMax } = learntLimits;
    const seconds = Math.min(Math.max(ttlSeconds, ttlSecondsMin), ttlSecondsMax) + graceSeconds;
    const entries = this.#of(endpoint);
    let entry = entries.get(address);
    if (entry === undefined) {
      this.#makeRoom(endpoint, entries);
      entries.set(address, (entry = { names: new Map(), list: [], lapsed: false }));
      this.#version++;
    }
    if (entry.lapsed) {
      // What had lapsed is not learnt anew by another name's answer.
      entry.names.clear();
      entry.lapsed = false;
      this.#version++;
    }
    for (const name of names) {
      if (!entry.names.has(name)) {
        if (entry.names.size >= namesPerAddressMax) entry.names.delete(firstToGo(entry.names));
        this.#version++;
      }
      entry.names.set(name, Math.max(entry.names.get(name) ?? 0, nowMs + seconds * 1000));
    }
    this.#store(endpoint, address, entry);
  }

  #makeRoom(endpoint: string, entries: Map<string, Entry>): void {
    if (entries.size < learntLimits.addressesPerEndpointMax) return;
    const untilMs = (entry: Entry): number => (entry.lapsed ? 0 : Math.max(...entry.names.values()));
    let first: readonly [address: string, untilMs: number] | null = null;
    for (const [address, entry] of entries) {
      const at = untilMs(entry);
      if (first === null || at < first[1]) first = [address, at];
    }
    this.#drop(endpoint, entries, first![0]);
    this.counts.displaced++;
  }

  #expireEntry(
    endpoint: string,
    address: string,
    entry: Entry,
    nowMs: number,
    isLive: (endpoint: string, address: string) => boolean,
  ): void {
    const over = [...entry.names].filter(([, untilMs]) => untilMs <= nowMs).map(([name]) => name);
    if (over.length === 0) return;
    const isOver = over.length === entry.names.size;
    if (isLive(endpoint, address)) {
      if (!isOver || entry.lapsed) return;
      entry.lapsed = true;
      this.counts.lapsed++;
      this.#version++;
    } else if (isOver) {
      if (!entry.lapsed) this.counts.lapsed++;
      this.#drop(endpoint, this.#of(endpoint), address);
      return;
    } else {
      for (const name of over) entry.names.delete(name);
      this.#version++;
    }
    this.#store(endpoint, address, entry);
  }

  #of(endpoint: string): Map<string, Entry> {
    let entries = this.#endpoints.get(endpoint);
    if (entries === undefined) this.#endpoints.set(endpoint, (entries = new Map()));
    return entries;
  }

  #drop(endpoint: string, entries: Map<string, Entry>, address: string): void {
    entries.delete(address);
    if (entries.size === 0) this.#endpoints.delete(endpoint);
    this.#records.delete(keyOf(endpoint, address));
    this.#version++;
  }

  #store(endpoint: string, address: string, entry: Entry): void {
    const { names, lapsed, list } = entry;
    if (list.length !== names.size || list.some((name) => !names.has(name))) entry.list = [...names.keys()];
    this.#records.set(keyOf(endpoint, address), { names: [...names], lapsed });
  }
}

function latestEnd(nowMs: number): number {
  return nowMs + (learntLimits.ttlSecondsMax + learntLimits.graceSeconds) * 1000;
}

function firstToGo(names: ReadonlyMap<string, number>): string {
  return [...names].reduce((first, each) => (each[1] < first[1] ? each : first))[0];
}

function keyOf(endpoint: string, address: string): string {
  return `${address} ${endpoint}`;
}

function splitKey(key: string): readonly [endpoint: string, address: string] {
  const at = key.indexOf(' ');
  return [key.slice(at + 1), key.slice(0, at)];
}
