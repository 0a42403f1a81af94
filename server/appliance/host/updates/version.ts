/** Versions of Holdfast in order (Semantic Versioning 2.0.0, section 11; build metadata after `+` does not count). */
import { HoldfastError } from '../../../lib/errors.ts';

const VERSION =
  /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?$/;

interface Version {
  numbers: [number, number, number];
  /** Parts of what comes after `-`; undefined for a release. */
  pre: string[] | undefined;
}

/** True for a text that `compareVersions` takes. */
export function isVersion(text: string): boolean {
  return text.length <= 128 && VERSION.test(text);
}

/**
 * @returns below 0 when `a` is older than `b`, 0 when neither is, above 0 when it is newer.
 * @throws HoldfastError `invalid_input` for what is no version.
 */
export function compareVersions(a: string, b: string): number {
  const left = parse(a);
  const right = parse(b);
  for (const index of [0, 1, 2] as const) {
    const difference = left.numbers[index] - right.numbers[index];
    if (difference !== 0) return difference;
  }
  if (left.pre === undefined || right.pre === undefined) {
    return Number(left.pre === undefined) - Number(right.pre === undefined);
  }
  return comparePre(left.pre, right.pre);
}

function parse(text: string): Version {
  const match = isVersion(text) ? VERSION.exec(text) : null;
  if (match === null) {
    throw new HoldfastError('invalid_input', `Not a version: ${text.slice(0, 64)}`, {
      hint: 'A version looks like 1.4.0 or 1.4.0-rc.1.',
    });
  }
  const [, major, minor, patch, pre] = match;
  return { numbers: [Number(major), Number(minor), Number(patch)], pre: pre?.split('.') };
}

function comparePre(a: readonly string[], b: readonly string[]): number {
  for (let index = 0; index < Math.max(a.length, b.length); index += 1) {
    const left = a[index];
    const right = b[index];
    if (left === undefined) return -1;
    if (right === undefined) return 1;
    const numeric = [/^\d+$/.test(left), /^\d+$/.test(right)];
    if (numeric[0] === true && numeric[1] === true) {
      if (Number(left) !== Number(right)) return Number(left) - Number(right);
    } else if (numeric[0] !== numeric[1]) return numeric[0] === true ? -1 : 1;
    else if (left !== right) return left < right ? -1 : 1;
  }
  return 0;
}
