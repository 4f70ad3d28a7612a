/** What workloads learn by names, from the answer to the kernel and to its end: the book, the policy and the reconcile loop together. */
import type { Kernel, LearntEntry } from '@bulkhead/kernel';
import { reservedIdentity } from '@bulkhead/policy';
import type { Reconciler } from '../apply/reconcile.ts';
import type { Clock } from '../clock.ts';
import type { LocalPolicy } from '../desired/policy.ts';
import type { LocalEndpoint } from '../model.ts';
import type { StagedJudge } from '../observe/staged-judge.ts';
import { learntKey } from '../plan/model.ts';
import { PrefixTable } from '../plan/prefixes.ts';
import type { Registry } from '../registry/registry.ts';
import type { LearntBook, LearntCounts } from './learnt-book.ts';
import { learntAddresses, type LearntAddress } from './learnt-names.ts';

export interface LearningOptions {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly registry: Registry;
  readonly policy: LocalPolicy;
  readonly reconciler: Reconciler;
  readonly book: LearntBook;
  /** Policies that are staged judge by names as well, for what flows tell of them. */
  readonly staged: Pick<StagedJudge, 'asksFor'>;
}

export class Learning {
  readonly #options: LearningOptions;

  constructor(options: LearningOptions) {
    const { registry, book } = options;
    this.#options = options;
    registry.onChange((change) => {
      if (change.kind === 'endpoint-removed') book.forget(change.endpoint.endpoint);
    });
  }

  /** How much is learnt, and what became of the rest. */
  get counts(): { readonly addresses: number } & LearntCounts {
    const { book } = this.#options;
    return { addresses: book.size, ...book.counts };
  }

  /** Names by which whoever has the slot knows the address; none where it did not ask. */
  namesOf(slot: number, address: string): readonly string[] {
    const endpoint = slot === 0 ? undefined : this.#options.registry.bySlot(slot);
    return endpoint === undefined ? [] : this.#options.book.names(endpoint.endpoint, address);
  }

  /**
   * Takes what an answer to its own question taught a workload, and returns when the programs judge by it. Names that no rule speaks of
   * and addresses of ours teach nothing. Where the kernel cannot take it, the address stays what it was, and the receipt says so.
   */
  learn(workload: string, asked: string, message: Uint8Array): void {
    const { policy, reconciler, registry, book, clock, staged } = this.#options;
    if (!policy.usesNames && !staged.asksFor()) return;
    const isTaught = ({ address, names }: LearntAddress): boolean =>
      !reconciler.mirror.addresses.has(address) && (policy.asksFor(names) || staged.asksFor(names));
    const answer = learntAddresses(asked, message).filter(isTaught);
    if (answer.length === 0) return;
    const { displaced } = book.counts;
    const taught = registry
      .endpoints()
      .filter((endpoint) => endpoint.workload === workload && book.learn(endpoint.endpoint, answer, clock.nowMs()));
    if (taught.length === 0) return;
    const isPlain = book.counts.displaced === displaced;
    if (!isPlain || !this.#learnInPlace(taught, answer)) reconciler.reconcileNow();
  }

  /** Ends what is over. What lives goes on. */
  expire(): void {
    const { kernel, clock, registry, reconciler, book } = this.#options;
    const nowMs = clock.nowMs();
    if (!book.hasExpired(nowMs)) return;
    const live = new Set<string>();
    kernel.maps.forEachConnection(({ sourceSlot, destination, state }) => {
      if (sourceSlot !== 0 && state !== 'closed' && state !== 'reset')
        live.add(learntKey({ slot: sourceSlot, address: destination }));
    });
    const isLive = (endpoint: string, address: string): boolean =>
      live.has(learntKey({ slot: registry.endpoint(endpoint)?.slot ?? 0, address }));
    if (book.expire(nowMs, isLive)) reconciler.markDirty();
  }

  #learnInPlace(taught: readonly LocalEndpoint[], answer: readonly LearntAddress[]): boolean {
    const { policy, reconciler, book } = this.#options;
    const { mirror } = reconciler;
    const identityOf = (slot: number): number => mirror.endpoints.get(slot)?.identity ?? reservedIdentity.unknown;
    const learning = taught.filter(({ slot }) => policy.learns(identityOf(slot)));
    const entries = learning.flatMap(({ endpoint, slot }) =>
      answer.flatMap(({ address }): LearntEntry[] => {
        const known = { address, names: book.names(endpoint, address) };
        const peer = policy.learntPeer(learntKey({ slot, address }), known);
        return peer === null ? [] : [{ slot, address, peer, lapsed: false }];
      }),
    );
    const prefixes = new PrefixTable(mirror.cidrs);
    return reconciler.learn({
      entries,
      contentOf: (slot) => policy.content(identityOf(slot)),
      peerOf: (address) => prefixes.match(address) ?? reservedIdentity.world,
    });
  }
}
