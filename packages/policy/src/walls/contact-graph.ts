import { Frontier } from './frontier.ts';

/** What spreads by contact, as a number: a dataset, or (from `tokenFirst`) a role in an open transaction. */
export type Mark = number;
export const tokenFirst = 2 ** 24;

/** What is remembered of a contact for as long as somebody bears a mark because of it. */
export interface ContactFacts {
  readonly id: string;
  readonly medium: ContactMedium;
  /** Names of the two subjects, as in `subjectName`. */
  readonly from: string;
  readonly to: string;
  readonly atMs: number;
  /** Number of the command that admitted it, and the revision under which it was admitted. */
  readonly step: number;
  readonly revision: number;
  /** Break-glass overrides that it needed. */
  readonly overrides: readonly string[];
}

/** `carry-over` is no contact of two that live: what a generation left to the next, which was not started afresh. */
export type ContactMedium = 'connection' | 'mount' | 'session' | 'file' | 'carry-over';

/** How a member came by a mark: by which contact, from whom, and how that one had come by it. */
export interface Gain {
  /** Null for a mark that is the member's own. */
  readonly contact: ContactFacts | null;
  readonly from: string | null;
  readonly before: Gain | null;
  /** Contacts back to the origin, or to where the history was cut off. */
  readonly steps: number;
}

export interface Member {
  readonly name: string;
  /** Marks that it bears by what it is. */
  readonly own: Set<Mark>;
  /** How it came by the marks of its component, as far as that is remembered; of tokens always. */
  readonly gains: Map<Mark, Gain>;
  readonly links: Map<Member, Map<string, ContactFacts>>;
  component: Component;
}

/**
 * Members that are joined by live contacts. What one knows, all may know, so that all bear the same marks: merging joins the sets,
 * splitting copies them, and nothing is ever taken away but the tokens of a transaction that ended.
 */
export interface Component {
  readonly members: Set<Member>;
  /** For each mark the step after which nobody in here was joined to a bearer by nature; `stillThere` while one is. */
  readonly marks: Map<Mark, number>;
  /** How many members bear the mark by nature. */
  readonly owners: Map<Mark, number>;
  /** It may have fallen apart: looking was too expensive. */
  stale: boolean;
}

export const stillThere = Number.POSITIVE_INFINITY;
/** The mark is the bearer's own by nature. */
export const ownGain: Gain = { contact: null, from: null, before: null, steps: 0 };
/** Nobody remembers how the mark came. */
export const lostGain: Gain = { contact: null, from: null, before: null, steps: -1 };

export interface GraphLimits {
  readonly chainStepsMax: number;
  readonly historiesMax: number;
  readonly toldMax: number;
  readonly splitVisitsMax: number;
}

export interface Carried {
  readonly marks: ReadonlyMap<Mark, number>;
  readonly gains: ReadonlyMap<Mark, Gain>;
}

export interface RestoredComponent {
  readonly stale: boolean;
  readonly marks: Iterable<readonly [Mark, number]>;
  readonly members: Iterable<{
    readonly name: string;
    readonly own: Iterable<Mark>;
    readonly gains: Iterable<readonly [Mark, Gain]>;
  }>;
}

/** Subjects, their live contacts, and the marks that have spread. Knows nothing of which marks conflict. */
export class ContactGraph {
  readonly #limits: GraphLimits;
  readonly #members = new Map<string, Member>();
  readonly #bearers = new Map<Mark, Set<Member>>();

  constructor(limits: GraphLimits) {
    this.#limits = limits;
  }

  member(name: string): Member | undefined {
    return this.#members.get(name);
  }

  members(): IterableIterator<Member> {
    return this.#members.values();
  }

  components(): Set<Component> {
    return new Set(Iterator.from(this.#members.values()).map(({ component }) => component));
  }

  /** A member without contacts; it bears what it is, and what it brings along. */
  add(name: string, own: Iterable<Mark>, carried?: Carried): Member {
    const component: Component = { members: new Set(), marks: new Map(), owners: new Map(), stale: false };
    const member: Member = { name, own: new Set(), gains: new Map(), links: new Map(), component };
    component.members.add(member);
    this.#members.set(name, member);
    for (const [mark, stamp] of carried?.marks ?? []) component.marks.set(mark, stamp);
    for (const [mark, gain] of carried?.gains ?? []) this.#gain(member, mark, gain);
    for (const mark of own) this.own(member, mark);
    return member;
  }

  /** Takes in a component as it was, contacts excepted: they come by `relink`. */
  restore({ stale, marks, members }: RestoredComponent): void {
    const component: Component = { members: new Set(), marks: new Map(marks), owners: new Map(), stale };
    for (const { name, own, gains } of members) {
      const member: Member = { name, own: new Set(own), gains: new Map(), links: new Map(), component };
      for (const [mark, gain] of gains) this.#gain(member, mark, gain);
      for (const mark of own) component.owners.set(mark, (component.owners.get(mark) ?? 0) + 1);
      component.members.add(member);
      this.#members.set(name, member);
    }
  }

  /** Forgets a member that has no contacts any more. */
  remove(member: Member, step: number): void {
    if (member.links.size > 0) throw new Error(`${member.name} is forgotten while it has live contacts`);
    for (const mark of member.own) this.disown(member, mark, step);
    for (const mark of member.gains.keys()) this.#bearers.get(mark)?.delete(member);
    member.component.members.delete(member);
    this.#members.delete(member.name);
  }

  /** The member bears the mark by nature from now on, and so does whoever it is in contact with. */
  own(member: Member, mark: Mark): void {
    if (member.own.has(mark)) return;
    const { component } = member;
    const known = component.marks.has(mark);
    member.own.add(mark);
    component.owners.set(mark, (component.owners.get(mark) ?? 0) + 1);
    component.marks.set(mark, stillThere);
    if (known) return;
    this.#gain(member, mark, ownGain);
    this.#spread(member, [mark]);
  }

  disown(member: Member, mark: Mark, step: number): void {
    if (!member.own.delete(mark)) return;
    const { owners, marks } = member.component;
    const left = owners.get(mark)! - 1;
    if (left > 0) {
      owners.set(mark, left);
      return;
    }
    owners.delete(mark);
    marks.set(mark, step);
  }

  /** Takes a token away from everybody. */
  drop(token: Mark): void {
    for (const member of this.#bearers.get(token) ?? []) {
      member.own.delete(token);
      member.gains.delete(token);
      member.component.marks.delete(token);
      member.component.owners.delete(token);
    }
    this.#bearers.delete(token);
  }

  /** The two are in contact from now on, and all that either component bears is known to all in both. */
  link(a: Member, b: Member, contact: ContactFacts): void {
    const joined = a.component === b.component;
    const broughtToA = joined ? [] : missing(a.component, b.component);
    const broughtToB = joined ? [] : missing(b.component, a.component);
    addLink(a, b, contact);
    addLink(b, a, contact);
    if (joined) return;
    this.#take(a, b, contact, broughtToA);
    this.#take(b, a, contact, broughtToB);
    merge(a.component, b.component);
  }

  /** Adds a contact that had spread its marks already, when a graph is restored. */
  relink(a: Member, b: Member, contact: ContactFacts): void {
    addLink(a, b, contact);
    addLink(b, a, contact);
  }

  /** The contact is over. Both keep what they bear; the component may fall apart. */
  unlink(a: Member, b: Member, contact: string, step: number): void {
    const links = a.links.get(b);
    if (links === undefined || !links.delete(contact)) throw new Error(`${a.name} and ${b.name} have no ${contact}`);
    b.links.get(a)!.delete(contact);
    if (links.size > 0) return;
    a.links.delete(b);
    b.links.delete(a);
    const part = this.#partedBy(a, b);
    if (part === 'unknown') a.component.stale = true;
    else if (part !== 'joined') detach(a.component, part, step);
  }

  /** Splits what `unlink` left whole because looking was too expensive. */
  settle(step: number): void {
    for (const component of this.components()) {
      if (!component.stale) continue;
      component.stale = false;
      while (component.members.size > 0) {
        const [first] = component.members;
        const part = new Frontier(first!).all();
        if (part.size === component.members.size) break;
        detach(component, part, step);
      }
    }
  }

  /** What the member would leave to one that comes after it by this contact. */
  carriedFrom(member: Member, contact: ContactFacts, step: number): Carried {
    const marks = new Map<Mark, number>();
    for (const [mark, stamp] of member.component.marks) marks.set(mark, Math.min(stamp, step));
    const gains = new Map<Mark, Gain>();
    for (const mark of marks.keys()) gains.set(mark, this.#passedOn(contact, member, mark));
    return { marks, gains };
  }

  #take(to: Member, from: Member, contact: ContactFacts, brought: readonly Mark[]): void {
    if (brought.length === 0) return;
    for (const mark of brought) this.#gain(to, mark, this.#passedOn(contact, from, mark));
    this.#spread(to, brought);
  }

  /** Breadth first, so that every member learns of a mark by a shortest way. The first of them knows already. */
  #spread(from: Member, marks: readonly Mark[]): void {
    const { component } = from;
    const told = new Set([from]);
    for (const member of told) {
      for (const [next, contacts] of member.links) {
        if (next.component !== component || told.has(next)) continue;
        if (told.size >= this.#limits.toldMax) return this.#spreadTokens(component, marks, told);
        const [contact] = contacts.values();
        for (const mark of marks) this.#gain(next, mark, this.#passedOn(contact!, member, mark));
        told.add(next);
      }
    }
    // Parts that cannot be reached any more count as joined until `settle`.
    if (component.stale) this.#spreadTokens(component, marks, told);
  }

  /** The way of a token may be lost, but not who bears it: it has to be taken away again. */
  #spreadTokens(component: Component, marks: readonly Mark[], told: ReadonlySet<Member>): void {
    const tokens = marks.filter((mark) => mark >= tokenFirst);
    if (tokens.length === 0) return;
    for (const member of component.members)
      if (!told.has(member)) for (const token of tokens) this.#gain(member, token, lostGain);
  }

  #passedOn(contact: ContactFacts, from: Member, mark: Mark): Gain {
    const before = from.gains.get(mark) ?? lostGain;
    const cut = before === lostGain || before.steps + 1 >= this.#limits.chainStepsMax;
    return { contact, from: from.name, before: cut ? null : before, steps: cut ? 1 : before.steps + 1 };
  }

  #gain(member: Member, mark: Mark, gain: Gain): void {
    if (mark < tokenFirst) {
      if (member.gains.size < this.#limits.historiesMax) member.gains.set(mark, gain);
      return;
    }
    member.gains.set(mark, gain);
    let bearers = this.#bearers.get(mark);
    if (bearers === undefined) this.#bearers.set(mark, (bearers = new Set()));
    bearers.add(member);
  }

  /** The part that lost its contact with the other. Looks from both ends in turn, so that a small part costs little. */
  #partedBy(a: Member, b: Member): ReadonlySet<Member> | 'joined' | 'unknown' {
    const sides = [new Frontier(a), new Frontier(b)] as const;
    for (let visits = 0; visits < this.#limits.splitVisitsMax; visits++) {
      const [side, other] = visits % 2 === 0 ? sides : [sides[1], sides[0]];
      const reached = side.next();
      if (reached === null) return side.visited;
      if (other.visited.has(reached)) return 'joined';
    }
    return 'unknown';
  }
}

function addLink(a: Member, b: Member, contact: ContactFacts): void {
  const contacts = a.links.get(b);
  if (contacts === undefined) a.links.set(b, new Map([[contact.id, contact]]));
  else contacts.set(contact.id, contact);
}

function missing(in_: Component, of: Component): Mark[] {
  return [...of.marks.keys()].filter((mark) => !in_.marks.has(mark));
}

function merge(a: Component, b: Component): void {
  const [large, small] = a.members.size >= b.members.size ? [a, b] : [b, a];
  for (const [mark, stamp] of small.marks) large.marks.set(mark, Math.max(stamp, large.marks.get(mark) ?? 0));
  for (const [mark, count] of small.owners) large.owners.set(mark, count + (large.owners.get(mark) ?? 0));
  for (const member of small.members) {
    member.component = large;
    large.members.add(member);
  }
  large.stale ||= small.stale;
}

function detach(from: Component, part: ReadonlySet<Member>, step: number): void {
  const component: Component = { members: new Set(part), marks: new Map(), owners: new Map(), stale: from.stale };
  for (const member of part) {
    from.members.delete(member);
    member.component = component;
    for (const mark of member.own) component.owners.set(mark, (component.owners.get(mark) ?? 0) + 1);
  }
  for (const [mark, stamp] of from.marks) {
    const inPart = component.owners.get(mark) ?? 0;
    const left = (from.owners.get(mark) ?? 0) - inPart;
    component.marks.set(mark, stamp === stillThere && inPart === 0 ? step : stamp);
    from.marks.set(mark, stamp === stillThere && left === 0 ? step : stamp);
    if (left > 0) from.owners.set(mark, left);
    else from.owners.delete(mark);
  }
}
