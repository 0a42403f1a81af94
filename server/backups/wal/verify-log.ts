/** Reads back pieces of the log and lists of born files, and checks what each says against its name. */
import { HoldfastError } from '../../lib/errors.ts';
import type { Repository } from '../repository/open-repository.ts';
import { isWriteOnly } from '../repository/object-store.ts';
import { listNames } from '../repository/listing.ts';
import { listBorn, readBorn } from './born-catalogue.ts';
import { readPiece } from './fetch-log.ts';
import { bornName, parseWalPieceName, WAL_PREFIX, walPieceName } from './wal-names.ts';

/** Without a key only the hashes of stored bytes are compared. */
export async function verifyLog(
  repository: Repository,
  note: (object: string, message: string) => void,
  options: { signal: AbortSignal | undefined; wants: (sha256: string) => boolean },
): Promise<void> {
  const { target } = repository;
  const check = async (name: string, sha256: string, read: () => Promise<unknown>): Promise<void> => {
    if (!options.wants(sha256)) return;
    options.signal?.throwIfAborted();
    try {
      if (!isWriteOnly(repository.keys)) await read();
      else if ((await target.readBack(name)).sha256 !== sha256)
        note(name, 'It was changed after it was written.');
    } catch (error) {
      if (!(error instanceof HoldfastError) || !['integrity_failure', 'not_found'].includes(error.code))
        throw error;
      note(name, error.message);
    }
  };
  for (const name of await listNames(target, WAL_PREFIX)) {
    const piece = parseWalPieceName(name);
    if (piece !== undefined)
      await check(walPieceName(piece), piece.sha256, () => readPiece(repository, piece));
  }
  for (const reference of await listBorn(target)) {
    await check(bornName(reference), reference.sha256, () => readBorn(target, repository.keys, reference));
  }
}
