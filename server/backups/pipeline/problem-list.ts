/** What could not be taken: all counted, the first ones listed. */
import type { SourceProblem } from '../engine.ts';
import { displayPath, type ByteString } from './path-bytes.ts';

const MOST_LISTED = 1000;

export interface ProblemList {
  add(path: ByteString, reason: string): void;
  readonly listed: SourceProblem[];
  readonly count: number;
}

export function createProblemList(): ProblemList {
  const listed: SourceProblem[] = [];
  let count = 0;
  return {
    add(path, reason) {
      count++;
      if (listed.length < MOST_LISTED) listed.push({ path: displayPath(path), reason });
    },
    listed,
    get count() {
      return count;
    },
  };
}
