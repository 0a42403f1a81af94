/** The front door of the backups module. */
export { answerBrowsing } from './answer-browsing.ts';
export { APPLIANCE_SECTION } from './appliance-source.ts';
export type { FolderLine, NodeLine } from './appliance-queries.ts';
export type {
  ChunkCatalogue,
  FileEntry,
  RepositoryReadKeys,
  SegmentReference,
  SnapshotRecord,
  SourceSection,
  Target,
  TargetConfig,
} from './engine.ts';
export { runPrune, runVerify } from './job.ts';
export { targetConfigOf } from './manage-targets.ts';
export { openChunkReader, type ChunkReader } from './pipeline/chunk-reader.ts';
export { postgresFacts, type PostgresFacts } from './postgres-source.ts';
export { getTarget } from './queries.ts';
export {
  recoverAppliance,
  type RecoverOptions,
  type RecoveryQuestion,
  type RecoveryReport,
} from './recover.ts';
export { openRepository, type OpenRepositoryOptions, type Repository } from './repository/open-repository.ts';
export { verifyRepository, type VerifyReport } from './repository/verify-repository.ts';
export type { RepositoryWarning } from './repository/warnings.ts';
export { runRestoreFile } from './restore-file.ts';
export { requestDirectoryRestore, runRestoreDirectory, type DirectoryRestore } from './restore-directory.ts';
export { restoreTree, type RestoreTreeOptions, type RestoreTreeReport } from './restore-tree.ts';
export { startScratchDatabase } from './scratch-database.ts';
export { backupRoutes } from './routes.ts';
export { Schedule, ScheduleChange, Snapshot, TargetReply, TargetRequest } from './schema.ts';
export { shipReport } from './ship-report.ts';
export { createSnapshotBrowser, type SnapshotBrowser } from './snapshot-browser.ts';
export { DATABASE_SECTION, FILES_SECTION, runSnapshot } from './take-snapshot.ts';
export { openTarget } from './targets/open-target.ts';
