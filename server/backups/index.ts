/** The front door of the backups module. */
export { answerBrowsing } from './answer-browsing.ts';
export { applyRetentionWhenDue } from './apply-retention.ts';
export { anchorWhenDue, runAuditAnchor } from './anchor-job.ts';
export { listAnchorStates } from './anchor-states.ts';
export { APPLIANCE_SECTION, decodeLines } from './appliance-source.ts';
export type {
  FileEntry,
  S3AccessKey,
  SnapshotRecord,
  SourceSection,
  Target,
  TargetConfig,
} from './engine.ts';
export { partOf, requireKept, whyExpired } from './expired-parts.ts';
export { copyWhenDue, runCopy } from './copy-job.ts';
export { listLackingKeys, publishKeysWhenDue, runPublishKeys } from './publish-keys.ts';
export { readRule } from './copy-rule.ts';
export { listBehind } from './lacking.ts';
export { goOnReadingBack } from './read-back/go-on.ts';
export { listLateReadBacks } from './read-back/keep-cycle.ts';
export { findReadableSnapshot } from './find-readable-snapshot.ts';
export { runPrune, runVerify } from './job.ts';
export {
  findRetentionTrouble,
  letGo,
  lookAtPolicy,
  REMOVE_SNAPSHOTS,
  savePolicy,
  SHORTER_BACKUP_RETENTION,
  type Removal,
} from './keep-policy.ts';
export { readKeptHeads } from './kept-heads.ts';
export { findRepository, openFoundRepository } from './look.ts';
export { locationOf, openTargetConfig } from './target-config.ts';
export { listTargetSpace, setQuota, type TargetSpaceRow } from './target-space.ts';
export { expireSignIns } from './target-sign-ins.ts';
export { openChunkReader, type ChunkReader } from './pipeline/chunk-reader.ts';
export { postgresFacts, type PostgresFacts } from './database/postgres-source.ts';
export { quarantine, readQuarantine, releaseFromQuarantine } from './quarantine.ts';
export { noteMachine } from './quarantine-queries.ts';
export { findNewestStored, getTarget } from './queries.ts';
export { recoverAppliance } from './recover.ts';
export type { RecoveryQuestion, RecoveryReport } from './recover-plan.ts';
export { openRepository, type OpenRepositoryOptions, type Repository } from './repository/open-repository.ts';
export { verifyRepository, type VerifyReport } from './repository/verify-repository.ts';
export { readResidency, refuseRegionsInUse, type Residency } from './residency.ts';
export { clearUnfinished } from './clear-unfinished.ts';
export { runRestoreFile } from './restore-file.ts';
export { runRestoreFolder } from './restore-folder.ts';
export { FORGET_PROTECTED, forgetAsApproved, lookAtSnapshot } from './request-forget.ts';
export { type RetentionPolicy } from './retention/policy.ts';
export {
  days as tellDays,
  KEEP_NOTHING_MORE,
  PROPOSED_POLICY,
  tellHeld,
  tellLockChange,
} from './retention/policy-words.ts';
export { RetentionPreview, RetentionStatus } from './retention/schema.ts';
export { requestDirectoryRestore, runRestoreDirectory } from './restore-directory.ts';
export { restoreTree, type RestoreTreeReport } from './restore-tree.ts';
export { printVerification } from './verification-reports/print-verification.ts';
export {
  VERIFICATION_KIND,
  type VerificationReport,
  verifyVerificationReport,
} from './verification-reports/report.ts';
export { depthWords, describeVerification } from './verification-reports/words.ts';
export { startScratchDatabase } from './scratch-database.ts';
export { backupRoutes } from './routes.ts';
export { findUnusual, judgeSnapshots } from './unusual/judge-snapshots.ts';
export {
  CopyRule,
  DirectoryTargetRequest,
  S3TargetRequest,
  Schedule,
  ScheduleChange,
  SftpTargetRequest,
  Snapshot,
  TargetReply,
  TargetRequest,
} from './schema.ts';
export { fitOf } from './schema-fit.ts';
export { shipReport } from './ship-report.ts';
export { findPoint, findShippingTrouble, shippedUntil } from './wal/show-point-in-time.ts';
export { bornUntil, fetchUntil, openPoint, wordsOfPoint, type OpenedPoint } from './wal/open-point.ts';
export { measureLoss } from './wal/measure-loss.ts';
export { MeasuredLoss, PointInTimeStatus } from './wal/schema.ts';
export { parsePoint, type ChosenPoint } from './wal/plan-point.ts';
export { countRoundsLeft } from './wal/round.ts';
export { runShipper } from './wal/shipper.ts';
export { runAuditVerify } from './verify-audit.ts';
export { createSnapshotBrowser, type SnapshotBrowser } from './snapshot-browser.ts';
export { runSnapshot } from './run-snapshot.ts';
export { DATABASE_SECTION, FILES_SECTION, SYSTEM_SECTION } from './take-snapshot.ts';
export { readFreeBytes } from './targets/free-space.ts';
export { rememberedHead, withSnapshot, type RepositoryRunDeps } from './target-repository.ts';
export { openTarget } from './targets/open-target.ts';
export { askHostKey, readPrivateKey } from './targets/sftp/lazily.ts';
