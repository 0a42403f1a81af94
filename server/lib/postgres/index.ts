export { prepareCluster, startPostgres, type PostgresServer } from './server.ts';
export { findPostgresBinaries, POSTGRES_MAJOR } from './binaries.ts';
export { ADMIN_ROLE, APP_ROLE, BACKUP_ROLE, type PostgresSettings } from './settings.ts';
export { runningPostmaster, stopOrphan } from './postmaster.ts';
export { choosePostgresAccount, closedFolder } from './account.ts';
export {
  adoptCluster,
  ensureDatabase,
  ensureRoles,
  grantAppRights,
  grantBackupRights,
  socketAddress,
  withClient,
} from './connection.ts';
export {
  ChangesUnknown,
  openReplication,
  type BaseBackup,
  type BaseBackupEnd,
  type ReplicationConnection,
} from './base-backup.ts';
export { takeConsistentPoint } from './consistent-point.ts';
export {
  formatLsn,
  parseLsn,
  readServerFile,
  readWalBytes,
  readWalSegment,
  switchWal,
  walFileName,
  walFilesBetween,
} from './wal.ts';
export {
  advanceSlot,
  dropSlot,
  findSlot,
  makeSlot,
  readSlotBound,
  readStartedAt,
  readWalPosition,
  type WalPosition,
} from './wal-slot.ts';
export {
  beginReadOnly,
  readSchemaVersion,
  readServerFacts,
  readTableFacts,
  type ServerFacts,
  type TableFacts,
} from './table-facts.ts';
export { readReached, recoverPostgres, type RecoveryPoint } from './recovery.ts';
export {
  BLOCK_BYTES,
  readChangedBlocks,
  readCutRelations,
  relationOfFile,
  relationOfIncremental,
  wholeBackupLabel,
} from './incremental.ts';
export { checkIndexes, checkTables, prepareIntegrityChecks, type IntegrityReport } from './integrity.ts';
