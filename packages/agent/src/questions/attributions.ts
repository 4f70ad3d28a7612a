import type { ConnectionKey } from '@bulkhead/kernel';
import { questionLimits } from './limits.ts';

export interface Attribution {
  readonly question: string;
  readonly verdict: 'allow' | 'deny' | 'reject';
}

/** Which question decided about a connection; the one noted first is forgotten first. */
export class Attributions {
  readonly #byConnection = new Map<string, Attribution>();

  set(key: ConnectionKey, attribution: Attribution): void {
    const text = connectionText(key);
    this.#byConnection.delete(text);
    this.#byConnection.set(text, attribution);
    if (this.#byConnection.size <= questionLimits.attributionsMax) return;
    for (const oldest of this.#byConnection.keys()) {
      this.#byConnection.delete(oldest);
      return;
    }
  }

  of(key: ConnectionKey): Attribution | null {
    return this.#byConnection.get(connectionText(key)) ?? null;
  }
}

export function connectionText(key: ConnectionKey): string {
  return `${key.protocol} ${key.source} ${key.sourcePort} ${key.destination} ${key.destinationPort}`;
}
