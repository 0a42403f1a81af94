/** Chance that comes again from the same seed (mulberry32). */
export interface Chance {
  /** From 0 up to, not including, `below`. */
  number(below: number): number;
  /** In so many of a hundred cases. */
  percent(cases: number): boolean;
  pick<T>(list: readonly T[]): T;
  bytes(length: number): Buffer;
}

export function chanceOf(seed: number): Chance {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const number = (below: number) => next() % below;
  return {
    number,
    percent: (cases) => number(100) < cases,
    pick: (list) => {
      const one = list[number(list.length)];
      if (one === undefined) throw new Error('nothing to choose from');
      return one;
    },
    bytes: (length) => {
      const bytes = Buffer.alloc(length);
      for (let at = 0; at < length; at++) bytes[at] = number(256);
      return bytes;
    },
  };
}
