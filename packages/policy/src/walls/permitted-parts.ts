import type { PolicySet } from '../resolve/policy-set.ts';
import type { Network, Peers } from '../resolve/peers.ts';
import { enforcedRules } from '../resolve/rules-in-order.ts';
import { prefixContains } from '../select/prefix.ts';
import { JoinedParts } from './joined-parts.ts';
import { networkInside, networksMeet, type WallPlaces } from './wall-places.ts';

/**
 * Who might be in contact with whom, over any number of permitted connections, in either direction and past no sanitizer. Coarse and
 * on the safe side: every rule that allows or asks is taken to be permitted at both ends, whatever forbids a part of it. So who is in
 * two parts is certainly apart; who is in one part may be.
 */
export interface PermittedParts {
  /** The part that the place is in; null for a sanitizer or a host. */
  part(place: number): number | null;
  /** The places of the segments, without sanitizers and hosts. */
  placesOf(segments: readonly string[]): readonly number[];
}

export interface PartOptions {
  readonly sanitizers: readonly string[];
  /**
   * Segments whose members are no sanitizers, since they are themselves what is kept apart. A host that is in none of them passes
   * nothing on either: whoever rules the machine sees all that is on it anyway.
   */
  readonly kept: readonly string[];
  /** Places that are joined without a connection. */
  readonly together: readonly (readonly number[])[];
}

export function permittedParts(
  places: WallPlaces,
  set: PolicySet,
  { sanitizers, kept, together }: PartOptions,
): PermittedParts {
  const search = new PartSearch(places, set);
  search.exempt(sanitizers, kept);
  for (const group of together) search.join(group);
  search.joinRules();
  search.joinPostures();
  search.joinOverlaps(kept);
  return search;
}

class PartSearch implements PermittedParts {
  readonly #places: WallPlaces;
  readonly #set: PolicySet;
  readonly #parts = new JoinedParts();
  readonly #exemptParties = new Set<number>();
  /** Networks of sanitizers, and those that are kept apart. */
  #sanitized: readonly Network[] = [];
  #kept: readonly Network[] = [];
  readonly #exemptNetworks = new Map<number, boolean>();
  /** Networks that somebody may be in contact with. */
  readonly #outside = new Set<number>();
  /** By the key of an end: somebody of it, after all of it were joined; null where nobody is. */
  readonly #ends = new Map<string, { readonly first: number | null; readonly subjects: boolean; joined: boolean }>();

  constructor(places: WallPlaces, set: PolicySet) {
    this.#places = places;
    this.#set = set;
  }

  part(place: number): number | null {
    if (this.#isExempt(place)) return null;
    return this.#parts.part(place);
  }

  placesOf(segments: readonly string[]): readonly number[] {
    const members = segments.flatMap((name) => {
      const segment = this.#set.segments.get(name);
      return segment === undefined ? [] : this.#places.inSegment(segment);
    });
    return [...new Set(members)].filter((place) => !this.#isExempt(place));
  }

  exempt(sanitizers: readonly string[], kept: readonly string[]): void {
    const keptPlaces = new Set(this.placesOf(kept));
    const exempt = this.placesOf(sanitizers);
    for (const place of [...exempt, ...this.#places.hosts()])
      if (!keptPlaces.has(place)) this.#exemptParties.add(place);
    const networks = (places: Iterable<number>): Network[] =>
      [...places].flatMap((place) => this.#places.network(place) ?? []);
    this.#sanitized = networks(exempt);
    this.#kept = networks(keptPlaces);
  }

  join(group: readonly number[]): void {
    const [first, ...others] = group.filter((place) => !this.#isExempt(place));
    for (const place of others) this.#parts.join(first!, place);
  }

  joinRules(): void {
    for (const { action, from, to } of enforcedRules(this.#set)) {
      if (action !== 'allow' && action !== 'ask') continue;
      const [source, destination] = [this.#end(from), this.#end(to)];
      if (source.first === null || destination.first === null) continue;
      // Outside addresses among themselves are nobody's business here.
      if (!source.subjects && !destination.subjects) continue;
      this.#join(from, source);
      this.#join(to, destination);
      this.#parts.join(source.first, destination.first);
    }
  }

  #end(peers: Peers) {
    let end = this.#ends.get(peers.key);
    if (end === undefined) {
      let first: number | null = null;
      let subjects = false;
      for (const place of this.#members(peers)) {
        if (this.#isExempt(place)) continue;
        first ??= place;
        subjects ||= place < this.#places.parties;
        if (subjects) break;
      }
      end = { first, subjects, joined: false };
      this.#ends.set(peers.key, end);
    }
    return end;
  }

  #join(peers: Peers, end: { readonly first: number | null; joined: boolean }): void {
    if (end.joined) return;
    end.joined = true;
    for (const place of this.#members(peers)) {
      if (this.#isExempt(place)) continue;
      this.#parts.join(end.first!, place);
      if (place >= this.#places.parties) this.#outside.add(place);
    }
  }

  *#members(peers: Peers): Generator<number> {
    const members = this.#places.of(peers, this.#set.segments, this.#set.namespaces);
    if (members !== null) {
      yield* members;
      return;
    }
    for (let place = 0; place < this.#places.parties; place++) yield place;
    yield* this.#places.everywhere();
  }

  /** A network is exempt as a whole or not at all: inside one of a sanitizer, and without an address that is to be kept apart. */
  #isExempt(place: number): boolean {
    const network = this.#places.network(place);
    if (network === undefined) return this.#exemptParties.has(place);
    let exempt = this.#exemptNetworks.get(place);
    if (exempt === undefined) {
      exempt =
        this.#sanitized.some((outer) => networkInside(network, outer)) &&
        !this.#kept.some((other) => networksMeet(network, other));
      if (this.#sanitized.length > 0) this.#exemptNetworks.set(place, exempt);
    }
    return exempt;
  }

  /** Connections that no rule names: from segments and namespaces whose posture allows them. */
  joinPostures(): void {
    const egress: number[] = [];
    const ingress: number[] = [];
    for (const segment of this.#set.segments.values()) {
      if (segment.posture.egress === 'allow') egress.push(...this.#subjectsIn(this.#places.inSegment(segment)));
      if (segment.posture.ingress === 'allow') ingress.push(...this.#subjectsIn(this.#places.inSegment(segment)));
    }
    for (const namespace of this.#set.namespaces.keys()) {
      const open = this.#subjectsIn(this.#places.inNamespace(namespace));
      egress.push(...open);
      ingress.push(...open);
    }
    const [first] = [...egress, ...ingress];
    if (first === undefined) return;
    const outside = this.#places.everywhere().filter((place) => !this.#isExempt(place));
    for (const place of outside) this.#outside.add(place);
    for (const place of [...egress, ...ingress, ...outside]) this.#parts.join(first, place);
  }

  #subjectsIn(members: readonly number[]): number[] {
    return members.filter((place) => place < this.#places.parties && !this.#isExempt(place));
  }

  /** One address in two networks is one store. */
  joinOverlaps(kept: readonly string[]): void {
    for (const place of this.placesOf(kept)) if (place >= this.#places.parties) this.#outside.add(place);
    const networks = [...this.#outside]
      .map((place) => ({ place, network: this.#places.network(place)! }))
      .sort((a, b) => (a.network.prefix.bits < b.network.prefix.bits ? -1 : 1));
    // Sorted by their bits, a network comes after those that contain it.
    const around: typeof networks = [];
    for (const inner of networks) {
      while (around.length > 0 && !prefixContains(around.at(-1)!.network.prefix.bits, inner.network.prefix.bits))
        around.pop();
      for (const outer of around)
        if (networksMeet(outer.network, inner.network)) this.#parts.join(outer.place, inner.place);
      around.push(inner);
    }
  }
}
