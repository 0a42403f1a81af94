/** Tests that act as another account of the machine. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closedFolder } from '../../server/lib/postgres/index.ts';

/** The account without rights of its own. */
export const NOBODY = 65_534;

export const isRoot = process.getuid?.() === 0;

/**
 * Whether the account `nobody` may be used: that needs root, and a way to this project and its temporaries that is not closed
 * to others, such as below root's own home.
 */
export const othersMayPass =
  isRoot &&
  [import.meta.dirname, tmpdir()].every(
    (place) => closedFolder(join(place, 'x'), { uid: NOBODY, gid: NOBODY }) === undefined,
  );
