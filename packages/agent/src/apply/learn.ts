/** The short way into the kernel for what an answer taught: where rows for it are in force and nobody loses by it, only its entries. */
import type { LearntEntry } from '@bulkhead/kernel';
import { lookup, type ContentContext } from '../plan/contents.ts';
import { learntKey, type RulesetContent } from '../plan/model.ts';
import { execute, readBack, type Target } from './execute.ts';

export interface LearntInPlace {
  readonly entries: readonly LearntEntry[];
  /** What is wanted for the endpoint of a slot. */
  readonly contentOf: (slot: number) => RulesetContent | undefined;
  /** The peer of an address that nobody learnt. */
  readonly peerOf: (address: string) => number;
}

/** True when the entries are in the kernel and were read back; false where a whole pass has to see to it, and nothing was written. */
export function learnInPlace(target: Target, context: ContentContext, learnt: LearntInPlace): boolean {
  const { mirror } = target;
  const isPlain = learnt.entries.every(({ slot, address, peer }) => {
    const endpoint = mirror.endpoints.get(slot);
    const content = learnt.contentOf(slot);
    const actual = mirror.rulesets.get(endpoint?.ruleset ?? 0);
    if (endpoint?.state !== 'governed' || endpoint.learns !== true || content === undefined) return false;
    if (actual === undefined || actual.basis !== content) return false;
    const before = mirror.learnt.get(learntKey({ slot, address }))?.peer ?? learnt.peerOf(address);
    const [old, next] = [before, peer].map((each) => lookup(context, content, 'egress', each));
    return context.store.leq(old!, next!);
  });
  if (!isPlain) return false;
  if (learnt.entries.length === 0) return true;
  const operation = { kind: 'set-learnt', entries: learnt.entries } as const;
  execute(target, operation);
  return readBack(target, [operation]).length === 0;
}
