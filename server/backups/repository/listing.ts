/** What lies on a target, sorted by kind. Names only: nothing in it is trusted. */
import type { Target } from '../engine.ts';
import {
  type NumberedKind,
  type ObjectReference,
  parseNumberedName,
  parsePackName,
  parseWriterName,
} from '../objects/object-names.ts';

type Numbered = Exclude<NumberedKind, 'reports'>;

/** Objects of one kind, lowest number first. Names that are none of this kind's are left out. */
export async function listNumbered(target: Target, kind: Numbered): Promise<ObjectReference[]> {
  const found: ObjectReference[] = [];
  for await (const object of target.list(`${kind}/`)) {
    const reference = parseNumberedName(kind, object.name);
    if (reference !== undefined) found.push(reference);
  }
  return found.sort((a, b) => a.number - b.number || (a.sha256 < b.sha256 ? -1 : 1));
}

/** Numbers of the writers' claims, lowest first. */
export async function listWriters(target: Target): Promise<number[]> {
  const found: number[] = [];
  for await (const object of target.list('writers/')) {
    const number = parseWriterName(object.name);
    if (number !== undefined) found.push(number);
  }
  return found.sort((a, b) => a - b);
}

/** Size of every pack, by id. */
export async function listPacks(target: Target): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for await (const object of target.list('packs/')) {
    const id = parsePackName(object.name);
    if (id !== undefined) found.set(id, object.sizeBytes);
  }
  return found;
}

/** Names below a prefix. */
export async function listNames(target: Target, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const object of target.list(prefix)) names.push(object.name);
  return names.sort();
}

export function sameReference(
  a: ObjectReference | null | undefined,
  b: ObjectReference | null | undefined,
): boolean {
  if (!a || !b) return false;
  return a.number === b.number && a.sha256 === b.sha256;
}
