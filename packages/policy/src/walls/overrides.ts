import type { OverrideCommand, WallRefusal } from './commands.ts';
import type { WallLimits } from './limits.ts';

/** A break-glass override as it stands. It is never forgotten before it ended; the audit log keeps it for ever. */
export interface Override {
  readonly id: string;
  readonly wall: string;
  readonly between: readonly [string, string];
  readonly workloads: readonly string[] | null;
  readonly because: string;
  readonly by: string;
  readonly askedAtMs: number;
  readonly expiresAtMs: number;
  /** Two different people make it effective. */
  readonly approvals: readonly { readonly by: string; readonly atMs: number }[];
  readonly withdrawn: { readonly by: string; readonly atMs: number } | null;
  /** Contacts, starts and bindings that it let pass. */
  readonly uses: number;
}

const approvalsNeeded = 2;

export class Overrides {
  readonly #overrides = new Map<string, Override>();
  readonly #limits: WallLimits;

  constructor(limits: WallLimits, restored: readonly Override[] = []) {
    this.#limits = limits;
    for (const override of restored) this.#overrides.set(override.id, override);
  }

  all(): IterableIterator<Override> {
    return this.#overrides.values();
  }

  /** Null where it was taken. It has no effect before two people approved it. */
  ask(command: OverrideCommand, nowMs: number): WallRefusal | null {
    const { kind: _, override: id, between, ...rest } = command;
    if (this.#overrides.has(id)) return { because: 'taken', what: 'override', name: id };
    if (command.expiresAtMs <= nowMs) return { because: 'improper', reason: 'the override would have expired already' };
    if (command.expiresAtMs - nowMs > this.#limits.overrideMsMax)
      return { because: 'limit', limit: 'overrideMsMax', max: this.#limits.overrideMsMax };
    if (this.#overrides.size >= this.#limits.overridesMax && !this.#forgetOne(nowMs))
      return { because: 'limit', limit: 'overridesMax', max: this.#limits.overridesMax };
    const [a, b] = between;
    const ordered: readonly [string, string] = a < b ? [a, b] : [b, a];
    const fresh = { id, between: ordered, askedAtMs: nowMs, approvals: [], withdrawn: null, uses: 0 };
    this.#overrides.set(id, { ...rest, ...fresh });
    return null;
  }

  /** Makes room by the oldest that cannot have an effect any more. */
  #forgetOne(nowMs: number): boolean {
    for (const [id, { expiresAtMs, withdrawn }] of this.#overrides) {
      if (withdrawn !== null || expiresAtMs <= nowMs) return this.#overrides.delete(id);
    }
    return false;
  }

  approve(id: string, by: string, nowMs: number): WallRefusal | null {
    const override = this.#overrides.get(id);
    if (override === undefined) return { because: 'unknown', what: 'override', name: id };
    if (override.withdrawn !== null || override.expiresAtMs <= nowMs)
      return { because: 'improper', reason: 'the override is over' };
    if (override.approvals.some((approval) => approval.by === by))
      return { because: 'improper', reason: 'the second approval has to come from somebody else' };
    if (override.approvals.length >= approvalsNeeded) return null;
    this.#overrides.set(id, { ...override, approvals: [...override.approvals, { by, atMs: nowMs }] });
    return null;
  }

  withdraw(id: string, by: string, nowMs: number): WallRefusal | null {
    const override = this.#overrides.get(id);
    if (override === undefined) return { because: 'unknown', what: 'override', name: id };
    if (override.withdrawn === null) this.#overrides.set(id, { ...override, withdrawn: { by, atMs: nowMs } });
    return null;
  }

  /** An effective override for this conflict, for a contact of these workloads. */
  covering(
    conflict: { readonly wall: string; readonly between: readonly [string, string] },
    workloads: readonly string[],
    nowMs: number,
  ): string | null {
    for (const override of this.#overrides.values()) {
      const { wall, between, expiresAtMs, approvals, withdrawn } = override;
      if (approvals.length < approvalsNeeded || withdrawn !== null || expiresAtMs <= nowMs) continue;
      if (wall !== conflict.wall || between[0] !== conflict.between[0] || between[1] !== conflict.between[1]) continue;
      if (override.workloads === null || override.workloads.some((name) => workloads.includes(name)))
        return override.id;
    }
    return null;
  }

  use(id: string): void {
    const override = this.#overrides.get(id)!;
    this.#overrides.set(id, { ...override, uses: override.uses + 1 });
  }
}
