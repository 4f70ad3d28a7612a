/** Takes refused items out of the desired state, such that what is left never allows more than it did with them. */
import type { LearntEntry } from '@bulkhead/kernel';
import { reservedIdentity } from '@bulkhead/policy';
import { directions, lookup, type ContentContext } from './contents.ts';
import type { DesiredKernel, EndpointTarget, Refusals, RulesetContent } from './model.ts';
import { PrefixTable } from './prefixes.ts';

/**
 * - An endpoint whose interface or entry cannot be had is taken out: its packets are of nobody.
 * - A ruleset that does not fit: its endpoints are closed.
 * - A peer whose rows do not fit: its addresses are unknown, its endpoints held.
 * - An address or network that does not fit resolves to what lies behind it: every ruleset that would allow more there is closed.
 * - What an endpoint learnt and does not fit, likewise: the endpoint is closed where that would allow it more.
 */
export function withoutRefused(context: ContentContext, desired: DesiredKernel, refusals: Refusals): DesiredKernel {
  const { contents, peers, slots } = refusals;
  const refused = slots.size + contents.size + peers.size + refusals.addresses.size + refusals.cidrs.size;
  if (refused + refusals.learnt.size === 0) return desired;
  const cidrs = new Map<string, number>();
  const fallbacks: { readonly meant: number; readonly behind: number }[] = [];
  const lost: (readonly [string, number])[] = [];
  for (const [cidr, peer] of desired.cidrs) {
    if (refusals.cidrs.has(cidr) || peers.has(peer)) lost.push([cidr, peer]);
    else cidrs.set(cidr, peer);
  }
  const prefixes = new PrefixTable(cidrs);
  const behind = (text: string): number => prefixes.match(text) ?? reservedIdentity.world;
  for (const [cidr, peer] of lost) fallbacks.push({ meant: peer, behind: behind(cidr) });

  const addresses = new Map(desired.addresses);
  for (const [address, entry] of desired.addresses) {
    if (entry.kind === 'remote' && peers.has(entry.identity)) {
      addresses.set(address, { ...entry, identity: reservedIdentity.unknown });
    } else if (refusals.addresses.has(address)) {
      addresses.delete(address);
      const meant = entry.kind === 'remote' ? entry.identity : reservedIdentity.host;
      fallbacks.push({ meant: entry.kind === 'endpoint' ? reservedIdentity.unknown : meant, behind: behind(address) });
    }
  }
  const widened = (content: RulesetContent): boolean =>
    fallbacks.some(({ meant, behind: fallback }) =>
      directions.some(
        (direction) =>
          !context.store.leq(lookup(context, content, direction, fallback), lookup(context, content, direction, meant)),
      ),
    );
  const verdicts = new Map<RulesetContent, boolean>();
  const isClosed = (content: RulesetContent): boolean => {
    const known = verdicts.get(content) ?? (contents.has(content) || widened(content));
    verdicts.set(content, known);
    return known;
  };
  const learnt = new Map<string, LearntEntry>();
  const unlearnt: LearntEntry[] = [];
  for (const [key, entry] of desired.learnt) {
    if (refusals.learnt.has(key) || peers.has(entry.peer)) unlearnt.push(entry);
    else learnt.set(key, entry);
  }
  const widenedSlots = new Set<number>();
  for (const { slot, address, peer } of unlearnt) {
    const content = desired.endpoints.get(slot)?.content ?? null;
    if (content === null) continue;
    const [meant, instead] = [peer, behind(address)].map((each) => lookup(context, content, 'egress', each));
    if (!context.store.leq(instead!, meant!)) widenedSlots.add(slot);
  }
  const endpoints = new Map<number, EndpointTarget>();
  for (const [slot, target] of desired.endpoints) {
    if (slots.has(slot)) continue;
    const closes = (content: RulesetContent): boolean => widenedSlots.has(slot) || isClosed(content);
    endpoints.set(slot, refusedTarget(target, peers, closes));
  }
  return { ...desired, endpoints, addresses, cidrs, learnt };
}

function refusedTarget(
  target: EndpointTarget,
  peers: ReadonlySet<number>,
  isClosed: (content: RulesetContent) => boolean,
): EndpointTarget {
  if (target.state === 'observed') return target;
  if (peers.has(target.identity)) {
    const state = target.state === 'governed' ? 'held' : target.state;
    return { ...target, state, identity: reservedIdentity.unknown, content: null };
  }
  if (target.content !== null && isClosed(target.content)) return { ...target, content: null };
  return target;
}
