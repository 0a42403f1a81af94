/**
 * What the checks of one restore test work on. Early checks fill in what later ones need: a check whose ground is missing is
 * not run, and a test in which a check was not run has not passed.
 */
import type {
  ChosenPoint,
  ChunkReader,
  FileEntry,
  OpenedPoint,
  PostgresFacts,
  Repository,
  Residency,
  SnapshotRecord,
  SourceSection,
} from '../backups/index.ts';
import type { FileKeyContext, OpenRequest } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { DatabaseAddress } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RecoveryPoint } from '../lib/postgres/index.ts';
import type { AskedAssertion } from './assertions/schema.ts';
import type { Objectives } from './checks/objective-checks.ts';
import type { CheckResult, CopyChoice, RestoreTestMode } from './schema.ts';

/** Opens sealed values and file keys, with the live keyring or with the one that the kit opened. */
export interface ContentKeys {
  /** Names of the keyring objects that it was opened from; with the live keyring, those in the repository. */
  objects: string[];
  openFileKey(file: FileKeyContext, wrapped: Uint8Array): Promise<Buffer>;
  /** An error in the place of what cannot be opened. */
  tryOpen(requests: readonly OpenRequest[]): Promise<(Buffer | Error)[]>;
  /** The key that a workspace's names are sealed under. @throws not_found */
  workspaceKeyId(workspaceId: string): Promise<string>;
  /** Forgets the keys. */
  close(): Promise<void>;
}

/** What a test expects of the world around the repository. */
export interface Expectations {
  /** When a snapshot was last due; a tested one must not be older. Undefined where no schedule is known. */
  snapshotDueAt: Date | undefined;
}

/** What people ask of the restored database, and how long each may take. */
export interface AskedOfTest {
  assertions: readonly AskedAssertion[];
  seconds: number;
  objectives: Objectives;
  /** Where copies may lie and do; unknown on another machine. */
  residency?: { of: Residency; targetId: string };
}

/** How the copy was chosen. */
export interface CopyOfTest {
  choice: CopyChoice['choice'];
  drawnFrom: number | null;
  /** No newer one lies on the same target. */
  newest: boolean;
}

/** What of a machine lies in a snapshot, told by the code that reads it on the machine. */
export interface SystemContent {
  there: string[];
  missing: string[];
  wrong: string[];
  /** What the machine's facts name, if they can be read. */
  image?: { path: string; sha256: string };
}

export interface Machine {
  /** Holdfast runs on its own machine image here; unknown on another machine than the appliance. */
  isOurs: boolean;
  /** Everything of the section `system` but the image. */
  read(files: ReadonlyMap<string, Buffer>): SystemContent;
}

export interface Scene {
  mode: RestoreTestMode;
  snapshotId: string;
  scratchDir: string;
  clock: Clock;
  startedAt: Date;
  signal: AbortSignal;
  expectations: Expectations;
  asked: AskedOfTest;
  copy: CopyOfTest;
  openRepository(): Promise<Repository>;
  openReader(repository: Repository): Promise<ChunkReader>;
  /** A chosen moment instead of the snapshot's own. */
  chosen?: ChosenPoint | undefined;
  /** Called when the snapshot and its keyring are known. */
  openContentKeys(repository: Repository): Promise<ContentKeys>;
  /** Live progress of a long step: bytes read so far in it, and how many there will be. */
  progress(bytesDone: number, bytesTotal: number): void;

  machine?: Machine | undefined;

  repository?: Repository;
  snapshot?: SnapshotRecord;
  reader?: ChunkReader;
  databaseSection?: SourceSection;
  filesSection?: SourceSection;
  factsSection?: SourceSection;
  facts?: PostgresFacts;
  /** Version of the program that took the snapshot, as its facts say. */
  writtenBy?: string;
  databaseRestored?: boolean;
  point?: ScenePoint;
  /** From the start of the test. */
  recoveredMs?: number;
  database?: DatabaseAddress;
  /** The same as the role that assertions are asked as. */
  confined?: DatabaseAddress;
  stopDatabase?: () => Promise<void>;
  contentKeys?: ContentKeys;
  /** Bytes of stored files read, and the time that took. */
  filesRead?: { bytes: number; ms: number; totalBytes: number };
}

/** Of a chosen moment. */
export interface ScenePoint {
  opened: OpenedPoint;
  until: RecoveryPoint;
  /** Files that came after the snapshot, by path. */
  born: ReadonlyMap<string, FileEntry>;
  /** The last commit that recovery applied. */
  reachedAt?: Date | undefined;
}

/** What a check found. */
export interface Finding {
  passed: boolean;
  expected: string;
  found: string;
  /** Passed, with something that people should know. */
  warned?: boolean;
}

export interface Check {
  id: string;
  label: string;
  /** Of a person's own. */
  assertion?: CheckResult['assertion'];
  run(scene: Scene): Promise<Finding>;
}

/** A check could not be run because an earlier one did not give what it needs. */
export class GroundMissing extends HoldfastError {
  constructor(what: string) {
    super('wrong_state', `Not run: ${what} is not there`);
  }
}

/** @throws GroundMissing */
export function need<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new GroundMissing(what);
  return value;
}
