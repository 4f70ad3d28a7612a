import type { PortSpan } from '../resolve/rule.ts';

/**
 * A set of protocols and ports. `spans` are sorted by (protocol, from), disjoint, and never adjacent. With `otherProtocols` every
 * protocol that is not in that list belongs to the set as a whole; those in it are described by `spans` alone.
 */
export interface PortSet {
  readonly spans: readonly PortSpan[];
  readonly otherProtocols: readonly number[] | null;
}
