/** The server's shapes, under one roof. Types only: nothing of the server is loaded. */
export type { Overview, SetupState, ApplianceSettings, HealthCheck } from '../../server/appliance/schema.ts';
export type { AuditEntry } from '../../server/audit/schema.ts';
export type {
  Schedule,
  Snapshot,
  SnapshotEntry,
  SnapshotFolder,
  SnapshotState,
  TargetProbe,
  TargetReply,
  TargetRequest,
} from '../../server/backups/schema.ts';
export type { Role, Session, User } from '../../server/identity/schema.ts';
export type { Run, RunKind, RunLogLine, RunState } from '../../server/lib/run-schema.ts';
export type {
  CheckResult,
  KitMaterial,
  Preflight,
  RestoreTest,
  RestoreTestPage,
  StartRestoreTest,
} from '../../server/restore-tests/schema.ts';
export type { FolderPage, Node, Workspace } from '../../server/workspaces/schema.ts';
