/** Reads back pieces of the log and lists of born files, and checks what each says against its name. */
import { HoldfastError } from '../../lib/errors.ts';
import type { Repository } from '../repository/open-repository.ts';
import { isClosed, isWriteOnly } from '../repository/object-store.ts';
import { listNames } from '../repository/listing.ts';
import { listBorn, readBorn } from './born-catalogue.ts';
import { readPiece } from './fetch-log.ts';
import { bornName, parseWalPieceName, WAL_PREFIX, walPieceName } from './wal-names.ts';

const GONE =
  'This piece of the log was shipped, and is not there any more. Moments after it cannot be restored, up to the next snapshot.';

/**
 * Without a key only the hashes of stored bytes are compared.
 *
 * @param note is told of what is damaged, `options.noteMissing` of what is not there of `options.shipped`.
 */
export async function verifyLog(
  repository: Repository,
  note: (object: string, message: string) => void,
  options: {
    signal: AbortSignal | undefined;
    wants: (sha256: string) => boolean;
    shipped: readonly string[];
    noteMissing: (object: string, message: string) => void;
  },
): Promise<void> {
  const { target } = repository;
  const check = async (name: string, sha256: string, read: () => Promise<unknown>): Promise<void> => {
    if (!options.wants(sha256)) return;
    options.signal?.throwIfAborted();
    const isOpened = async (): Promise<boolean> => {
      if (isWriteOnly(repository.keys)) return false;
      return read().then(
        () => true,
        (error: unknown) => {
          if (isClosed(error, repository.keys)) return false;
          throw error;
        },
      );
    };
    try {
      if (!(await isOpened()) && (await target.readBack(name)).sha256 !== sha256)
        note(name, 'It was changed after it was written.');
    } catch (error) {
      if (!(error instanceof HoldfastError) || !['integrity_failure', 'not_found'].includes(error.code))
        throw error;
      note(name, error.message);
    }
  };
  const present = new Set(await listNames(target, WAL_PREFIX));
  for (const name of options.shipped) if (!present.has(name)) options.noteMissing(name, GONE);
  for (const name of present) {
    const piece = parseWalPieceName(name);
    if (piece !== undefined)
      await check(walPieceName(piece), piece.sha256, () => readPiece(repository, piece));
  }
  for (const reference of await listBorn(target)) {
    await check(bornName(reference), reference.sha256, () => readBorn(target, repository.keys, reference));
  }
}
