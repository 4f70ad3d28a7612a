import type { CompiledSubject, Direction, IdentityId } from '../model.ts';
import type { HostEntry, IdentityEntry } from './peer.ts';
import { fewMax, oneMore } from './few-set.ts';
import type { Side } from './side.ts';

export const directions: readonly Direction[] = ['egress', 'ingress'];

/** An identity with tables. */
export class Subject implements CompiledSubject {
  readonly entry: IdentityEntry | HostEntry;
  /** False where its labels are not known: no rule speaks for it. */
  readonly known: boolean;
  readonly sides: Record<Direction, Side | null> = { egress: null, ingress: null };
  /** Where it stands among the subjects of its sides. */
  readonly places: Record<Direction, number> = { egress: -1, ingress: -1 };
  /** The sides that it had before this round, where it has others now. */
  before: Partial<Record<Direction, Side>> | null = null;
  isNew = true;

  constructor(entry: IdentityEntry | HostEntry, known: boolean) {
    this.entry = entry;
    this.known = known;
  }

  get identity(): IdentityId {
    return this.entry.peer;
  }

  get egress(): Side {
    return this.side('egress');
  }

  get ingress(): Side {
    return this.side('ingress');
  }

  get learns(): boolean {
    return this.egress.learns;
  }

  side(direction: Direction): Side {
    const side = this.sides[direction];
    if (side === null) throw new Error(`the subject ${this.identity} is read before its tables were made`);
    return side;
  }

  enter(side: Side): void {
    this.sides[side.direction] = side;
    this.places[side.direction] = side.subjects.length;
    if (side.subjects.length < fewMax) side.subjects = oneMore<Subject>(side.subjects, this);
    else side.subjects.push(this);
  }

  leave(direction: Direction): void {
    const { subjects } = this.side(direction);
    const last = subjects.pop()!;
    const place = this.places[direction];
    if (last !== this) {
      subjects[place] = last;
      last.places[direction] = place;
    }
    this.sides[direction] = null;
  }
}
