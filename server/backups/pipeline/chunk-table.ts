/**
 * Which chunks are known, shared by all threads of a run without messages: open addressing in shared memory, 12 bytes per
 * chunk (96 bits of the HMAC id: among a billion chunks a false "known" has odds of one in 10^11, and without the secret
 * nobody can aim for one).
 *
 * Writers of all threads claim an id by compare-and-swap. A race may let two of them store the same chunk, which costs
 * bytes and nothing else; a claimed id whose pack is never written fails the whole run, so no list can name it.
 * A table does not grow: another, twice as large, is added beside it.
 */
const WORDS = 3;
const HEADER_WORDS = 2;
const MOST_FULL = 0.85;
const CROWDED = 0.6;

export class ChunkTable {
  readonly #tables: Int32Array[] = [];

  constructor(memories: readonly SharedArrayBuffer[]) {
    for (const memory of memories) this.attach(memory);
  }

  /** Shared memory for at least so many ids. */
  static allocate(expected: number): SharedArrayBuffer {
    const slots = Math.max(1 << 16, Math.ceil(expected / CROWDED));
    return new SharedArrayBuffer((HEADER_WORDS + slots * WORDS) * 4);
  }

  attach(memory: SharedArrayBuffer): void {
    this.#tables.push(new Int32Array(memory));
  }

  /** When the newest table is crowded, memory for the next, to be attached everywhere. */
  next(): SharedArrayBuffer | undefined {
    const newest = this.#tables.at(-1);
    if (newest === undefined) return ChunkTable.allocate(0);
    const slots = slotsOf(newest);
    if (Atomics.load(newest, 0) < slots * CROWDED) return undefined;
    return ChunkTable.allocate(slots * 2 * CROWDED);
  }

  has(id: Buffer): boolean {
    return this.#tables.some((table) => probe(table, id, false) === 'known');
  }

  /** @returns true when the id was new and is now ours to store. */
  claim(id: Buffer): boolean {
    const newest = this.#tables.length - 1;
    for (let at = 0; at < newest; at++) {
      const table = this.#tables[at];
      if (table !== undefined && probe(table, id, false) === 'known') return false;
    }
    const table = this.#tables[newest];
    return table === undefined || probe(table, id, true) !== 'known';
  }
}

function slotsOf(table: Int32Array): number {
  return (table.length - HEADER_WORDS) / WORDS;
}

function probe(table: Int32Array, id: Buffer, insert: boolean): 'known' | 'new' | 'full' {
  const slots = slotsOf(table);
  const first = id.readInt32LE(0) || 1;
  const second = id.readInt32LE(4);
  const third = id.readInt32LE(8);
  let slot = id.readUInt32LE(12) % slots;
  for (let tried = 0; tried < slots; tried++) {
    const at = HEADER_WORDS + slot * WORDS;
    let found = Atomics.load(table, at);
    if (found === 0) {
      if (!insert) return 'new';
      if (Atomics.load(table, 0) > slots * MOST_FULL) return 'full';
      found = Atomics.compareExchange(table, at, 0, first);
      if (found === 0) {
        Atomics.store(table, at + 1, second);
        Atomics.store(table, at + 2, third);
        Atomics.add(table, 0, 1);
        return 'new';
      }
    }
    if (found === first && Atomics.load(table, at + 1) === second && Atomics.load(table, at + 2) === third) {
      return 'known';
    }
    slot = slot + 1 === slots ? 0 : slot + 1;
  }
  return 'full';
}
