/** What the steps of a recovery share: what was asked for, what a person must answer, and what is open meanwhile. */
import type { RecoveryKit } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { ReportProgress, SnapshotRecord, SourceSection, TargetConfig } from './engine.ts';
import { partOf } from './expired-parts.ts';
import type { ObjectReference } from './objects/object-names.ts';
import type { ChunkReader } from './pipeline/chunk-reader.ts';
import type { Repository } from './repository/open-repository.ts';
import type { RepositoryWarning } from './repository/warnings.ts';
import type { OpenedPoint } from './wal/open-point.ts';
import type { ChosenPoint } from './wal/plan-point.ts';

/** What a person must agree to; everything else is decided by the rules. */
export type RecoveryQuestion =
  /** Something about the repository is not as it should be. */
  | { kind: 'warning'; warning: RepositoryWarning }
  /** Whether this is the state to go back to: only this target was asked, and another may know a newer one. */
  | { kind: 'snapshot'; snapshot: SnapshotRecord; headNumber: number; headAt: string; ageMs: number }
  /** The same for a chosen moment: the snapshot that it goes on from, and whether its time is not the only one of that name. */
  | {
      kind: 'point';
      point: { time: string } | { lsn: string };
      snapshot: SnapshotRecord;
      clockWentBack: boolean;
    }
  /** Whether the old machine is off: from now on it may write no more to this repository. */
  | { kind: 'old-machine-off' };

export interface RecoverOptions {
  target: TargetConfig;
  kit: Pick<RecoveryKit, 'kitId' | 'repositoryId' | 'trustRoot' | 'ageIdentity'>;
  /** Absent, empty, or left by an interrupted recovery. */
  dataDir: string;
  /** As `Repository.findSnapshot` takes it; the newest when absent. */
  snapshot?: string | undefined;
  /** Instead of a snapshot: any moment that shipped pieces of the log cover. */
  point?: ChosenPoint | undefined;
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
  /**
   * The old machine may still run: the target is only read, until an owner says that this is the appliance to go on with.
   */
  beside?: boolean | undefined;
  /**
   * Whether it works at once as before, instead of waiting in quarantine until an owner has looked at it. One that is set back never waits, and
   * one that was recovered beside another always does.
   */
  goLive?: boolean | undefined;
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
  /** It waits for its owner's word. */
  quarantined: boolean;
  /** Of a chosen moment: what was asked for, the last commit that is there, and how much of the log was applied. */
  point?: {
    asked: { time: string } | { lsn: string };
    reachedAt: string | null;
    pieces: number;
    bytes: number;
  };
}

/** Open while the parts are recovered. */
export interface RecoveryParts {
  options: RecoverOptions;
  repository: Repository;
  reader: ChunkReader;
  snapshot: SnapshotRecord;
  point?: OpenedPoint | undefined;
}

/** @throws HoldfastError `wrong_state` when it is kept no more, `integrity_failure` when the snapshot is not of a whole appliance. */
export function sectionOf(snapshot: SnapshotRecord, name: string): SourceSection {
  const hint = 'It is not a snapshot of a whole appliance. Choose another one.';
  return partOf(
    snapshot,
    name,
    () => new HoldfastError('integrity_failure', `The snapshot has no section ${name}`, { hint }),
  );
}
