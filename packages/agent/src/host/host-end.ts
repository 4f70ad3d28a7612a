/** The host as a party of policy: what is known of it, and whether documents make it a subject. */
import type { HostPort } from '@bulkhead/kernel';
import { factPrefix, isGuarded, isSubject, segmentsOfParty, type Labels, type PolicySet } from '@bulkhead/policy';
import type { PublishedAt } from '../model.ts';
import { guardEntries, guardLabels, type GuardPorts } from './guard.ts';

export class HostEnd {
  readonly #own: Labels;
  #guard: GuardPorts = { ingress: [], egress: [] };
  #labels: Labels;

  /** `labels`: what the agent was told to say about the host; those under the prefix of facts do not count. */
  constructor(host: string, labels: Labels) {
    const told = Object.entries(labels).filter(([key]) => !key.startsWith(factPrefix));
    this.#own = { ...Object.fromEntries(told), [`${factPrefix}host`]: host };
    this.#labels = this.#own;
  }

  get labels(): Labels {
    return this.#labels;
  }

  get guard(): GuardPorts {
    return this.#guard;
  }

  /** False where nothing changed. */
  setGuard(guard: GuardPorts): boolean {
    if (JSON.stringify(guard) === JSON.stringify(this.#guard)) return false;
    this.#guard = guard;
    this.#labels = { ...this.#own, ...guardLabels(guard) };
    return true;
  }

  segments(set: PolicySet): readonly string[] {
    return segmentsOfParty(set, { kind: 'host', labels: this.#labels }).map(({ name }) => name);
  }

  isSubject(set: PolicySet): boolean {
    const party = { kind: 'host', labels: this.#labels } as const;
    return isSubject(party, segmentsOfParty(set, party));
  }

  isGuarded(set: PolicySet): boolean {
    return isGuarded(segmentsOfParty(set, { kind: 'host', labels: this.#labels }));
  }

  /** Exceptions of its end; `guardRule` tells what the guard allowed. None while the host is no subject. */
  ports(set: PolicySet, guardRule: number, published: readonly PublishedAt[]): readonly HostPort[] {
    if (!this.isSubject(set)) return [];
    const guard = this.isGuarded(set) ? guardEntries(this.#labels, guardRule) : [];
    return [...guard, ...published.map((at): HostPort => ({ kind: 'published', ...at }))];
  }
}
