/** Which entries of a file list are wanted, by many paths at once: asked in one pass over the list, whatever their number. */
import { byteStringOf, type ByteString } from './path-bytes.ts';

export interface PathSelection {
  /** True for a wanted entry and everything below one; remembers that its path was met. */
  take(path: ByteString): boolean;
  /** False when no wanted entry lies from `first` on and before `following` (absent: to the end), in byte order. */
  mayLieWithin(first: ByteString, following: ByteString | undefined): boolean;
  /** Wanted paths that nothing was taken for. */
  unmet(): ByteString[];
}

/** @param paths entries with everything below them; `''` and absent mean all. */
export function selectPaths(paths: readonly string[] | undefined): PathSelection {
  const given = new Set(paths?.map((path) => byteStringOf(path.replace(/^\/+|\/+$/g, ''))));
  if (paths === undefined || given.has('')) {
    return { take: () => true, mayLieWithin: () => true, unmet: () => [] };
  }
  const wanted = [...given].sort();
  const unmet = new Set(wanted);
  return {
    take(path) {
      const met = withParents(path).filter((one) => given.has(one));
      for (const one of met) unmet.delete(one);
      return met.length > 0;
    },
    // What is under a path lies from the path itself to below `path0`, `0` being the byte after `/`.
    mayLieWithin: (first, following) =>
      wanted.some((path) => first < `${path}0` && (following === undefined || path < following)),
    unmet: () => [...unmet],
  };
}

function withParents(path: ByteString): ByteString[] {
  const all = [path];
  for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
    all.push(path.slice(0, slash));
  }
  return all;
}
