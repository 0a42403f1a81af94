/** Every object but the heads is named by the SHA-256 of its stored bytes: which one that is. */
import { parseKeyringName, parseNumberedName, parsePackName } from '../objects/object-names.ts';
import { parseBornName, parseWalPieceName } from '../wal/wal-names.ts';

/** @returns hex; undefined for a name that does not say it, and for a head, which each target has of its own. */
export function hashInName(name: string): string | undefined {
  const numbered = (['keys', 'index', 'snapshots'] as const)
    .map((kind) => parseNumberedName(kind, name))
    .find((one) => one !== undefined);
  const reference = numbered ?? parseKeyringName(name) ?? parseWalPieceName(name) ?? parseBornName(name);
  return parsePackName(name) ?? reference?.sha256;
}
