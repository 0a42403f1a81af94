/** A chosen moment: the log between the snapshot and it, and the files that came meanwhile. */
import { bornUntil, fetchUntil, openPoint, type FileEntry } from '../../backups/index.ts';
import { scratchClusterDir } from '../../lib/data-folder.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { need, type Check } from '../scene.ts';

export const logCheck: Check = {
  id: 'log',
  label: 'Write-ahead log up to the chosen moment is there, signed, and without a gap',
  async run(scene) {
    const repository = need(scene.repository, 'the repository');
    const snapshot = need(scene.snapshot, 'the snapshot');
    const reader = need(scene.reader, 'the repository');
    need(scene.databaseRestored === true ? true : undefined, 'the restored database');
    const opened = await openPoint(repository, need(scene.chosen, 'the moment'));
    if (opened.snapshot.id !== snapshot.id) {
      throw new HoldfastError('wrong_state', 'A newer snapshot leads to this moment now', {
        hint: 'Start the test again.',
      });
    }
    const bytesTotal = opened.plan.pieces.reduce((sum, piece) => sum + Number(piece.to - piece.from), 0);
    const log = await fetchUntil(repository, opened, {
      clusterDir: scratchClusterDir(scene.scratchDir),
      signal: scene.signal,
      progress: (bytes) => scene.progress(bytes, bytesTotal),
    });
    const born = new Map<string, FileEntry>();
    for (const section of await bornUntil(repository, opened)) {
      for await (const entry of reader.listEntries(section)) {
        if (entry.type === 'file') born.set(entry.path ?? '', entry);
      }
    }
    scene.point = { opened, until: log.until, born };
    return {
      passed: true,
      expected: 'every piece from the snapshot to the moment',
      found: `${log.pieces} pieces, ${log.bytes} bytes of log; ${born.size} files that came after the snapshot`,
    };
  },
};
