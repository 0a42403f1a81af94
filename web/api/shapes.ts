/** The server's shapes, under one roof. Types only: nothing of the server is loaded. */
export type { ApplianceSettings, Overview, SetupState } from '../../server/appliance/schema.ts';
export type { AuditEntry } from '../../server/audit/schema.ts';
export type {
  EarlierState,
  MadeKey,
  OwnRestore,
  S3SignIn,
  S3TargetRequest,
  Schedule,
  Snapshot,
  SnapshotEntry,
  SnapshotState,
  TargetProbe,
  TargetReply,
  TargetRequest,
  TargetSignIn,
} from '../../server/backups/schema.ts';
export type { Right } from '../../server/identity/rights.ts';
export type { Role, Session } from '../../server/identity/schema.ts';
export type { Run } from '../../server/lib/run-schema.ts';
export type { CheckResult, RestoreTest, StartRestoreTest } from '../../server/restore-tests/schema.ts';
export type { BatchOutcome, FolderPage, Node } from '../../server/workspaces/schema.ts';
