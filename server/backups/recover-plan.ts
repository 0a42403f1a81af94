/** What the steps of a recovery share: what was asked for, what a person must answer, and what is open meanwhile. */
import type { RecoveryKit } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { ReportProgress, SnapshotRecord, SourceSection, TargetConfig } from './engine.ts';
import type { ObjectReference } from './objects/object-names.ts';
import type { ChunkReader } from './pipeline/chunk-reader.ts';
import type { Repository } from './repository/open-repository.ts';
import type { RepositoryWarning } from './repository/warnings.ts';

/** What a person must agree to; everything else is decided by the rules. */
export type RecoveryQuestion =
  /** Something about the repository is not as it should be. */
  | { kind: 'warning'; warning: RepositoryWarning }
  /** Whether this is the state to go back to: only this target was asked, and another may know a newer one. */
  | { kind: 'snapshot'; snapshot: SnapshotRecord; headNumber: number; headAt: string; ageMs: number }
  /** Whether the old machine is off: from now on it may write no more to this repository. */
  | { kind: 'old-machine-off' };

export interface RecoverOptions {
  target: TargetConfig;
  kit: Pick<RecoveryKit, 'kitId' | 'repositoryId' | 'trustRoot' | 'ageIdentity'>;
  /** Absent, empty, or left by an interrupted recovery. */
  dataDir: string;
  /** As `Repository.findSnapshot` takes it; the newest when absent. */
  snapshot?: string | undefined;
  clock: Clock;
  /** @returns false to stop; nothing is then left behind. */
  confirm(question: RecoveryQuestion): Promise<boolean>;
  /** Told before each part, in plain words. */
  step?: (name: string) => void;
  progress?: ReportProgress;
  signal: AbortSignal;
  binariesDir?: string | undefined;
  /** On the machine image: where the root key of this machine lies. */
  rootKeyFile?: string | undefined;
  /** An older head on the target is warned of. */
  knownHead?: ObjectReference | undefined;
  /**
   * The appliance of this machine is set back, and is not another one afterwards: it goes on with this identity, with the keyring
   * that it has and as the writer that it is. So no keyring is made and the target is only read.
   */
  setBack?: { applianceId: string } | undefined;
}

export interface RecoveryReport {
  applianceId: string;
  snapshotId: string;
  snapshotNumber: number;
  takenAt: string;
  /** 0 where the appliance goes on with the keyring that it has. */
  keys: number;
  files: number;
  bytes: number;
  endedSessions: number;
  interruptedRuns: number;
  warnings: readonly RepositoryWarning[];
}

/** Open while the parts are recovered. */
export interface RecoveryParts {
  options: RecoverOptions;
  repository: Repository;
  reader: ChunkReader;
  snapshot: SnapshotRecord;
}

/** @throws HoldfastError `integrity_failure` when the snapshot is not of a whole appliance. */
export function sectionOf(snapshot: SnapshotRecord, name: string): SourceSection {
  const section = snapshot.sections.find((candidate) => candidate.name === name);
  if (section !== undefined) return section;
  throw new HoldfastError('integrity_failure', `The snapshot has no section ${name}`, {
    hint: 'It is not a snapshot of a whole appliance. Choose another one.',
  });
}
