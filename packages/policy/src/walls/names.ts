import { type Mark, tokenFirst } from './contact-graph.ts';

/** Numbers for names of datasets and roles. A number is never used for another name. */
export class Names {
  readonly #numbers = new Map<string, Mark>();
  readonly #names: string[] = [];

  get size(): number {
    return this.#names.length;
  }

  /** The name's number, given to it now if it has none. */
  readonly number = (name: string): Mark => {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.#names.length;
      if (number >= tokenFirst) throw new Error('names have used up the numbers below the tokens');
      this.#names.push(name);
      this.#numbers.set(name, number);
    }
    return number;
  };

  known(name: string): Mark | undefined {
    return this.#numbers.get(name);
  }

  name(number: Mark): string {
    const name = this.#names[number];
    if (name === undefined) throw new Error(`the mark ${number} stands for no name`);
    return name;
  }

  all(): readonly string[] {
    return this.#names;
  }
}
