/** What a verification can find. Each has a name of its own, because each means another deed. */

export const FINDING_CODES = {
  edited: 'The content of an entry is not what was written',
  deleted: 'An entry is gone',
  added: 'An entry was put in that the log never had there',
  reordered: 'An entry is not where it was written',
  rewritten: 'Entries were changed and the stored hashes made to fit; a signed checkpoint says otherwise',
  truncated: 'The end is missing',
  forked: 'Two histories of one log were signed',
  'rolled-back': 'The log is older than what was said of it elsewhere',
  'clock-set-back': 'The clock went back between two entries or checkpoints',
  'key-replaced': 'A checkpoint is not signed by a key that the trust root vouches for',
  unsigned: 'No signed checkpoint speaks for these entries',
  malformed: 'A line is not one of an export',
} as const;

export type FindingCode = keyof typeof FINDING_CODES;

export interface Finding {
  code: FindingCode;
  /** One sentence with the places and times. */
  message: string;
  /** Of the first entry concerned, from 0; null where it is none. */
  position: number | null;
}

/** More than this are counted and not listed. */
const MOST_LISTED = 1_000;

export interface FindingList {
  readonly count: number;
  list(): Finding[];
  add(code: FindingCode, position: number | null, message: string): void;
  has(code: FindingCode): boolean;
}

export function createFindingList(): FindingList {
  const listed: Finding[] = [];
  const codes = new Set<FindingCode>();
  let count = 0;
  return {
    get count() {
      return count;
    },
    list: () => listed,
    has: (code) => codes.has(code),
    add(code, position, message) {
      count += 1;
      codes.add(code);
      if (listed.length < MOST_LISTED) listed.push({ code, position, message });
    },
  };
}
