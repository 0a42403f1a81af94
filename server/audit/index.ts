export { systemActor, type Actor } from './actor.ts';
export {
  makeCheckpoint,
  readNewestCheckpoint,
  type Checkpoint,
  type CheckpointSigner,
} from './checkpoints.ts';
export { isEntryProof, MOST_PROOF_BYTES, verifyEntryProof } from './entry-proof.ts';
export { exportLog } from './export-log.ts';
export { findLogTrouble, verifyWhenDue } from './log-state.ts';
export { findLastActAt } from './queries.ts';
export { recordAudit, type AuditRecord } from './record-audit.ts';
export { applyRetention, expireDueEntries, lookAtRetention, SHORTER_RETENTION } from './retention.ts';
export type { RetentionChange } from './schema.ts';
export { auditRoutes } from './routes.ts';
export { sequenceEntries, startSequencer } from './sequencer.ts';
export { listAudit } from './service.ts';
export { AuditEntry, LogState, type TargetAnchorState } from './schema.ts';
export { readRoot, treeSize } from './tree/stored-tree.ts';
export { listDisplaced, recordVerification } from './verifications.ts';
export { readLines } from './verify/export-lines.ts';
export type { KeptHead, LogTrust } from './verify/known-heads.ts';
export { createSelectionVerifier, isSelection, type SelectionReport } from './verify/verify-selection.ts';
export { createLogVerifier, type VerifyOptions, type VerifyReport } from './verify/verify-log.ts';
