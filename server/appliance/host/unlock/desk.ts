/**
 * Where a locked machine is asked for its key: one state that page and console show, one attempt at a time, every attempt
 * counted and journaled. Knows no HTTP.
 */
import { HoldfastError, messageOf } from '../../../lib/errors.ts';
import type { HostActor } from '../schema.ts';
import {
  findVolume,
  isOpen,
  makeVolume,
  openByKey,
  openByMachine,
  type Opening,
  type UnlockDeps,
} from './volume.ts';
import type { VolumeChoice } from '../volume/choice.ts';

export interface DeskState {
  /** `opening`: at work. `locked`: a key is wanted. `take-over`: so, for a volume of another machine. `blocked`: no key helps. */
  kind: 'opening' | 'locked' | 'take-over' | 'blocked' | 'open';
  title: string;
  /** What was found and what to do, one sentence each. No secrets, no names of people. */
  sentences: string[];
}

export interface UnlockDesk {
  state(): DeskState;
  /** Looks at the disks, and opens what can be opened without anybody. @returns true when the volume is open. */
  start(): Promise<boolean>;
  /** Looks again where no disk fits yet. @returns true when the volume is open. */
  lookAgain(): Promise<boolean>;
  /**
   * Tries a key.
   *
   * @throws HoldfastError `wrong_key`, `wrong_state` when no key is wanted, `too_many_requests` when others are being tried.
   */
  tryKey(typed: string, actor: HostActor): Promise<Opening>;
  /** Takes a disk that somebody at the machine names, and looks again. */
  chooseDisk(path: string): Promise<boolean>;
  /** Resolves when the volume is open. */
  opened: Promise<void>;
}

/** So many wait at once; each attempt takes seconds of one core and 64 MiB. */
const MOST_WAITING = 5;
const REFUSED_ENTRY_EVERY_MS = 60_000;

export function openUnlockDesk(given: UnlockDeps, onChange: (state: DeskState) => void): UnlockDesk {
  const deps = { ...given };
  let state: DeskState = { kind: 'opening', title: 'Looking for the data disk', sentences: [] };
  let choice: VolumeChoice | undefined;
  let queue: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  let announceOpen: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (announceOpen = resolve));
  const refused = countRefused(deps);

  const show = (next: DeskState) => {
    const changed = JSON.stringify(next) !== JSON.stringify(state);
    state = next;
    if (changed) onChange(state);
    if (state.kind === 'open') announceOpen();
  };
  const inTurn = async <T>(act: () => Promise<T>): Promise<T> => {
    if (waiting >= MOST_WAITING)
      throw new HoldfastError('too_many_requests', 'Other attempts are being made: try again in a moment');
    waiting += 1;
    const turn = queue.then(act, act).finally(() => (waiting -= 1));
    queue = turn.catch(() => undefined);
    return turn;
  };

  const look = async (withMachineWays: boolean): Promise<boolean> => {
    if (await isOpen(deps)) {
      show(OPEN);
      return true;
    }
    try {
      choice = await findVolume(deps);
      const failures: string[] = [];
      if (choice.kind === 'blank') {
        show({ kind: 'opening', title: 'Preparing the empty data disk', sentences: [] });
        await makeVolume(deps, choice.disk);
        show(OPEN);
        return true;
      }
      if (choice.kind === 'own' && withMachineWays) {
        const made = await openByMachine(deps, choice);
        if ('way' in made) {
          show(OPEN);
          return true;
        }
        failures.push(...made.failures);
      }
      show(describeChoice(choice, failures));
    } catch (error) {
      choice = undefined;
      deps.log.error({ err: error }, 'The data volume could not be opened');
      const hint = error instanceof HoldfastError ? error.hint : undefined;
      show({ kind: 'blocked', title: messageOf(error), sentences: hint === undefined ? [] : [hint] });
    }
    return false;
  };

  return {
    state: () => state,
    opened,
    start: () => inTurn(() => look(true)),
    lookAgain: async () => (state.kind === 'blocked' ? inTurn(() => look(true)) : state.kind === 'open'),
    chooseDisk: (path) =>
      inTurn(async () => {
        if (state.kind !== 'blocked')
          throw new HoldfastError('wrong_state', 'No disk is wanted now', { hint: state.title });
        deps.configuredDisk = path;
        return look(true);
      }),
    tryKey: (typed, actor) =>
      inTurn(async () => {
        const wanted = choice;
        if (state.kind === 'open' || (wanted?.kind !== 'own' && wanted?.kind !== 'take-over')) {
          throw new HoldfastError('wrong_state', 'No key is wanted now', { hint: state.title });
        }
        const opening = await openByKey(deps, wanted, typed, actor);
        if (opening === undefined) {
          await refused(actor);
          throw new HoldfastError('wrong_key', 'This key does not open the data volume', {
            hint: 'Check what you typed. A recovery key is in the recovery kit, on the line “Volume key”.',
          });
        }
        show(OPEN);
        return opening;
      }),
  };
}

const OPEN: DeskState = {
  kind: 'open',
  title: 'The data volume is open',
  sentences: ['Holdfast is starting; this page becomes its sign-in page in a moment.'],
};

/** One entry for the first wrong key, then one a minute with their number: strangers must not fill the state partition. */
function countRefused(deps: Pick<UnlockDeps, 'journal' | 'clock'>): (actor: HostActor) => Promise<void> {
  let since = -Infinity;
  let untold = 0;
  return async (actor) => {
    untold += 1;
    if (deps.clock.monotonicMs() - since < REFUSED_ENTRY_EVERY_MS) return;
    const attempts = untold;
    since = deps.clock.monotonicMs();
    untold = 0;
    await deps.journal.append(actor, {
      action: 'host.volume.unlock-refused',
      objectType: 'volume',
      result: 'refused',
      detail: { attempts },
    });
  };
}

/** As the end of a sentence, each. */
const BACK_FROM_BACKUPS =
  'attach an empty disk in its place, and choose in the first run, in a browser, to recover the appliance from its backups.';
const NEW_MACHINE =
  'start this image on a new machine with an empty disk, and choose in the first run, in a browser, to recover the appliance from its backups with the recovery kit.';

function describeChoice(choice: VolumeChoice, failures: readonly string[]): DeskState {
  switch (choice.kind) {
    case 'own':
    case 'blank':
      return {
        kind: 'locked',
        title: 'The data volume is locked',
        sentences: [...failures, 'Type its passphrase, or the volume’s recovery key from the recovery kit.'],
      };
    case 'take-over':
      return {
        kind: 'take-over',
        title: 'The data disk belongs to another Holdfast',
        sentences: [
          `${choice.disk.path} holds the volume ${choice.uuid}, which this system does not know.`,
          ...(choice.ownIsMissing ? ['The disk of this system’s own volume is missing.'] : []),
          'Open it with its passphrase, or with the volume key in the recovery kit of that Holdfast, and this system takes it over. Nothing on the disk is changed before.',
          `Without either: ${BACK_FROM_BACKUPS} That needs the recovery kit.`,
        ],
      };
    default:
      return { kind: 'blocked', ...explainBlocked(choice) };
  }
}

type Blocked = Exclude<VolumeChoice, { kind: 'own' | 'blank' | 'take-over' }>;

function explainBlocked(choice: Blocked): { title: string; sentences: string[] } {
  const untouched = 'Nothing on it was changed.';
  switch (choice.kind) {
    case 'none':
      return {
        title: 'There is no data disk',
        sentences: ['Attach an empty disk; it is found without a restart.'],
      };
    case 'own-missing':
      return {
        title: 'The data disk of this system is missing',
        sentences: [
          'Attach it again. Other disks are left alone as long as this system has a volume of its own.',
          `If it is lost for good: ${NEW_MACHINE}`,
        ],
      };
    case 'foreign':
      return {
        title: `The disk ${choice.disk.path} is not empty`,
        sentences: [
          `It holds ${choice.what}. ${untouched}`,
          'Attach an empty disk for the data instead; a used one must be erased elsewhere first.',
          'With an empty disk the first run in a browser sets up a new appliance, or recovers one that was lost from its backups and its recovery kit.',
        ],
      };
    case 'failed':
      return {
        title: `The disk ${choice.disk.path} cannot be read`,
        sentences: [
          `The system says: ${choice.why}.`,
          `Replace it. If it held the data of this system: ${NEW_MACHINE}`,
        ],
      };
    case 'too-small':
      return {
        title: `The disk ${choice.disk.path} is too small`,
        sentences: [
          `It has ${mebibytes(choice.disk.sizeBytes)} MiB; at least ${mebibytes(choice.minimumBytes)} MiB are needed. ${untouched}`,
        ],
      };
    case 'several':
      return {
        title: 'There are several empty disks',
        sentences: [
          `${choice.disks.map((disk) => disk.path).join(', ')}: name the one for the data as dataDisk in the configuration, or detach the others.`,
        ],
      };
  }
}

function mebibytes(bytes: number): number {
  return Math.floor(bytes / 1_048_576);
}
