import type { RunProgress } from '../lib/run-schema.ts';
import type { EngineProgress } from './engine.ts';

/** The engine's numbers as a run shows them. */
export function toRunProgress(progress: EngineProgress): RunProgress {
  return {
    filesDone: progress.filesDone,
    bytesDone: progress.bytesDone,
    bytesAdded: progress.bytesAdded,
    ...(progress.filesTotal === undefined ? {} : { filesTotal: progress.filesTotal }),
    ...(progress.bytesTotal === undefined ? {} : { bytesTotal: progress.bytesTotal }),
  };
}
