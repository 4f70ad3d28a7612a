/**
 * What walls mean, a second time, told by brute force: a history is a list of moments, each with who was there, what he was, and who
 * was in contact; what somebody knows is a set (of bits), handed on within each moment until nothing changes, and kept from moment
 * to moment. It has no components, no splitting and no stamps, and nothing of the walls' own code, so that both can be held against
 * each other.
 */

/** A set of names (bits 0 to 3) and of roles in transactions (four bits for each of up to six). */
type Known = number;
export const transactionsOfHistoryMax = 6;
const namesKnown: Known = 0b1111;
const roleBits = (transaction: number, roles: number): Known => roles << (4 + 4 * transaction);

export interface OracleWall {
  readonly name: string;
  readonly scope: 'history' | 'transaction';
  readonly rolesApart: boolean;
  readonly neverBoth: boolean;
  /** Two bits each. */
  readonly pairs: readonly Known[];
  /** Workloads that pass nothing on. */
  readonly sanitizers: readonly string[];
}

/** One life: a generation of a workload, or a place until it is erased. */
export interface Being {
  readonly number: number;
  /** As the walls name it. */
  readonly label: string;
  readonly what: string;
  is: Known;
  acts: boolean;
  readonly parts: Map<number, number>;
}

export interface OracleContact {
  readonly id: string;
  readonly ends: readonly [Being, Being];
  readonly tag: string | null;
  /** Number of the transaction that the tag meant. */
  readonly transaction: number | null;
  /** The ends as walls over transactions see them: the being, or its part in the transaction that the contact belongs to. */
  readonly acting: readonly [number, number];
  readonly reserved: boolean;
}

export interface OracleTransaction {
  readonly id: string;
  readonly number: number;
  readonly wall: string;
  readonly began: number;
  readonly expiresAtMs: number;
  readonly bound: (readonly [role: Known, workload: string])[];
}

interface Moment {
  readonly own: readonly (readonly [being: number, known: Known])[];
  readonly contacts: readonly OracleContact[];
  /** Who began in this moment with all that another knew. */
  readonly heirs: readonly (readonly [from: number, to: number])[];
}

/** What everybody knows by what happened from some moment on. */
interface View {
  read: number;
  readonly known: Known[];
  /** What has been known together with a role of the transaction that the view is of. */
  met: Known;
}

export interface OracleConflict {
  readonly wall: string;
  readonly pair: Known;
  readonly transaction: string | null;
}

export interface OracleOverride {
  readonly wall: string;
  readonly pair: Known;
  readonly workload: string | null;
  readonly expiresAtMs: number;
  readonly approvers: Set<string>;
  withdrawn: boolean;
}

/** Somebody who would be in contact with the others of a list. */
export interface MeetingEnd {
  readonly what: string;
  /** Its number, or its part's; -1 where it is not born yet. */
  readonly acting: number;
  /** The being's own number, which walls over history see. */
  readonly number: number;
  /** What it would bear besides. */
  readonly more: Known;
}

export class HistoryOracle {
  walls: readonly OracleWall[];
  nowMs = 0;
  /** The newest life of each workload and place. */
  readonly newest = new Map<string, Being>();
  contacts: readonly OracleContact[] = [];
  readonly transactions = new Map<string, OracleTransaction>();
  readonly overrides = new Map<string, OracleOverride>();
  /** Attempts included. */
  transactionsBegun = 0;
  beings: readonly Being[] = [];
  #numbers = 0;
  #moments: Moment[] = [];
  readonly #ever = new Map<string, Known>();
  #heirs: (readonly [number, number])[] = [];
  #views = new Map<string, View>();

  constructor(walls: readonly OracleWall[]) {
    this.walls = walls;
  }

  born(label: string, what: string, is: Known): Being {
    const being: Being = { number: this.#numbers++, label, what, is, acts: true, parts: new Map() };
    this.beings = [...this.beings, being];
    this.newest.set(what, being);
    return being;
  }

  /** Writes the present down as the next moment. Forgotten is who is no newest life and has no contact left. */
  pass(): void {
    const needed = ({ what, number }: Being): boolean =>
      this.newest.get(what)?.number === number ||
      this.contacts.some(({ ends }) => ends[0].number === number || ends[1].number === number);
    this.beings = this.beings.filter(needed);
    const own: (readonly [number, Known])[] = [];
    for (const being of this.beings) {
      this.#ever.set(being.label, (this.#ever.get(being.label) ?? 0) | being.is);
      own.push([being.number, being.is | this.#roles(being, null)]);
      for (const [transaction, part] of being.parts) own.push([part, being.is | this.#roles(being, transaction)]);
    }
    this.#moments.push({ own, contacts: this.contacts, heirs: this.#heirs });
    this.#heirs = [];
  }

  /** Whether something of that label was these by nature at some moment. */
  everWas(label: string, known: Known): boolean {
    return ((this.#ever.get(label) ?? 0) & known) === known;
  }

  inherit(from: Being, to: Being): void {
    this.#heirs.push([from.number, to.number]);
    for (const { number } of this.transactions.values()) {
      const part = from.parts.get(number);
      if (part !== undefined) this.#heirs.push([part, this.acting(to, number)]);
    }
  }

  #roles(being: Being, only: number | null): Known {
    let known = 0;
    if (this.newest.get(being.what) !== being) return known;
    for (const { number, bound } of this.transactions.values()) {
      if (only !== null && only !== number) continue;
      for (const [role, workload] of bound) if (workload === being.what) known |= roleBits(number, role);
    }
    return known;
  }

  rolesIfBound(transaction: OracleTransaction, role: number): Known {
    return roleBits(transaction.number, role);
  }

  boundIn(workload: string): OracleTransaction[] {
    return [...this.transactions.values()].filter(({ bound }) => bound.some(([, other]) => other === workload));
  }

  /** The transaction in which an end of a contact that belongs to this one acts; null: in all. */
  partOf(being: Being, transaction: number | null): number | null {
    return this.boundIn(being.what).some(({ number }) => number === transaction) ? transaction : null;
  }

  acting(being: Being, part: number | null): number {
    if (part === null) return being.number;
    let number = being.parts.get(part);
    if (number === undefined) being.parts.set(part, (number = this.#numbers++));
    return number;
  }

  #seenBy(wall: OracleWall, contacts: readonly OracleContact[]): readonly (readonly [number, number])[] {
    const seen: (readonly [number, number])[] = [];
    for (const { ends, acting } of contacts) {
      if (wall.sanitizers.includes(ends[0].what) || wall.sanitizers.includes(ends[1].what)) continue;
      seen.push(wall.scope === 'transaction' ? acting : [ends[0].number, ends[1].number]);
    }
    return seen;
  }

  /** Reads the moments that the view has not read yet. */
  #view(wall: OracleWall, since: number, ofTransaction: number | null): View {
    const key = `${wall.scope} ${wall.sanitizers.join()} ${ofTransaction ?? ''}`;
    let view = this.#views.get(key);
    if (view === undefined) this.#views.set(key, (view = { read: since, known: [], met: 0 }));
    for (; view.read < this.#moments.length; view.read++) {
      const { own, contacts, heirs } = this.#moments[view.read]!;
      const { known } = view;
      for (const [from, to] of heirs) known[to] = (known[to] ?? 0) | (known[from] ?? 0);
      for (const [being, bears] of own) known[being] = (known[being] ?? 0) | bears;
      const joins = this.#seenBy(wall, contacts);
      for (let changed = true; changed;) {
        changed = false;
        for (const [a, b] of joins) {
          const both = (known[a] ?? 0) | (known[b] ?? 0);
          if (known[a] !== both || known[b] !== both) changed = true;
          known[a] = both;
          known[b] = both;
        }
      }
      if (ofTransaction === null) continue;
      for (const item of known) if ((item & roleBits(ofTransaction, namesKnown)) !== 0) view.met |= item & namesKnown;
    }
    return view;
  }

  /** Names that the being has been in contact with, for walls over history. */
  known(being: Being): Known {
    let known = 0;
    for (const wall of this.walls)
      if (wall.scope === 'history') known |= this.#view(wall, 0, null).known[being.number] ?? 0;
    return known & namesKnown;
  }

  end(being: Being, transaction: number | null, more: Known = 0): MeetingEnd {
    const { what, number } = being;
    const bears = transaction === null ? 0 : being.is | this.#roles(being, transaction);
    return { what, number, acting: this.acting(being, transaction), more: more | bears };
  }

  newcomer(what: string, is: Known): MeetingEnd {
    let roles = 0;
    for (const { number, bound } of this.transactions.values())
      for (const [role, workload] of bound) if (workload === what) roles |= roleBits(number, role);
    return { what, number: -1, acting: -1, more: is | roles };
  }

  /** What would be wrong if these came together now. A wall looks away where one of them is a sanitizer of it. */
  conflicts(ends: readonly MeetingEnd[]): OracleConflict[] {
    const found: OracleConflict[] = [];
    for (const wall of this.walls) {
      if (ends.some(({ what }) => wall.sanitizers.includes(what))) continue;
      const around = new Set(ends.map(({ number, acting }) => (wall.scope === 'transaction' ? acting : number)));
      const joins = this.#seenBy(wall, this.contacts);
      for (let before = -1; before !== around.size;) {
        before = around.size;
        for (const [a, b] of joins) if (around.has(a) || around.has(b)) around.add(a).add(b);
      }
      let more = 0;
      for (const end of ends) more |= end.more;
      const together = (view: View): Known => {
        let known = more;
        for (const who of around) known |= view.known[who] ?? 0;
        return known;
      };
      if (wall.scope === 'history') {
        const known = together(this.#view(wall, 0, null));
        for (const pair of wall.pairs)
          if ((known & pair) === pair) found.push({ wall: wall.name, pair, transaction: null });
      } else {
        found.push(...this.#transactionConflicts(wall, together));
      }
    }
    return found;
  }

  /** The same where sanitizers among the others are no reason to look away: a new life takes over its sessions. */
  conflictsOfStart(first: MeetingEnd, others: readonly MeetingEnd[]): OracleConflict[] {
    const walls = this.walls;
    const found: OracleConflict[] = [];
    for (const wall of walls) {
      this.walls = [wall];
      found.push(...this.conflicts([first, ...others.filter(({ what }) => !wall.sanitizers.includes(what))]));
    }
    this.walls = walls;
    return found;
  }

  #transactionConflicts(wall: OracleWall, together: (view: View) => Known): OracleConflict[] {
    const found: OracleConflict[] = [];
    for (const { id, number, wall: name, began } of this.transactions.values()) {
      if (name !== wall.name) continue;
      const view = this.#view(wall, began, number);
      const known = together(view);
      const roles = (known >> (4 + 4 * number)) & namesKnown;
      if (roles === 0) continue;
      const met = (view.met | known) & namesKnown;
      for (const pair of wall.pairs) {
        if (wall.rolesApart && (roles & pair) === pair) found.push({ wall: name, pair, transaction: id });
        if (wall.neverBoth && (met & pair) === pair) found.push({ wall: name, pair, transaction: id });
      }
    }
    return found;
  }

  get momentsPassed(): number {
    return this.#moments.length;
  }

  /** Whether overrides lift all of the conflicts for a contact of these workloads. */
  covered(conflicts: readonly OracleConflict[], workloads: readonly string[]): boolean {
    const overrides = [...this.overrides.values()];
    return conflicts.every((conflict) =>
      overrides.some(
        ({ wall, pair, workload, expiresAtMs, approvers, withdrawn }) =>
          wall === conflict.wall &&
          pair === conflict.pair &&
          approvers.size >= 2 &&
          !withdrawn &&
          expiresAtMs > this.nowMs &&
          (workload === null || workloads.includes(workload)),
      ),
    );
  }
}
