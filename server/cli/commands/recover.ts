import { createInterface } from 'node:readline/promises';
import { Option, type Command } from 'commander';
import {
  connectHost,
  hostPlaces,
  machineRootKeyFile,
  requireHost,
  type HostClient,
} from '../../appliance/index.ts';
import {
  parsePoint,
  recoverAppliance,
  type ChosenPoint,
  type RecoveryQuestion,
  type RecoveryReport,
  type TargetConfig,
} from '../../backups/index.ts';
import type { RecoveryKit } from '../../keys/index.ts';
import { systemClock } from '../../lib/clock.ts';
import { setBackFolders } from '../../lib/data-folder.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { formatBytes, formatInstant } from '../output.ts';
import {
  mountTargetShare,
  recoverMachine,
  setMachineBack,
  type DailyWay,
  type MachineRecovery,
  type Tell,
} from '../machine-recovery.ts';
import { addPlaceOptions, PLACE_WORDS, readPlace, type PlaceOptions } from '../target-place.ts';
import { readTpmPcrs, type ShareAnswers, type VolumeAnswers } from '../answer-file.ts';
import { readRecoveryFile, type RecoveryFile } from '../recovery-file.ts';
import { askSecret, readSecretFile, readSecretFromEnvironment, readWholeKit } from '../secrets.ts';
import { untilInterrupted } from '../signals.ts';

/** On the machine image keyd gets the root key from here; no copy of it may lie on the volume. */
const MACHINE_ROOT_KEY = machineRootKeyFile(hostPlaces());

interface Options extends PlaceOptions {
  config?: string;
  from?: string;
  kit?: string;
  data?: string;
  snapshot?: string;
  toTime?: string;
  toLsn?: string;
  yes?: boolean;
  acceptWarnings?: boolean;
  beside?: boolean;
  goLive?: boolean;
  daily: DailyWay['kind'];
  passphraseFile?: string;
}

export function addRecover(program: Command): void {
  addCommand<Options>(
    program,
    'recover',
    'Make a running appliance again on a new machine, from a target and the recovery kit',
    (command) =>
      addPlaceOptions(command)
        .option('--from <target>', `the target: ${PLACE_WORDS}`)
        .option('--kit <file>', 'the recovery kit')
        .option('--config <file>', 'all answers, instead of options; see server/cli/recovery.example.yaml')
        .option('--snapshot <which>', `${SNAPSHOT_WORDS}, which it is when absent`)
        .option('--to-time <instant>', 'go back to this moment instead, such as 2030-01-31T14:05:00Z')
        .option('--to-lsn <position>', 'the same, by its position in the write-ahead log')
        .option('--yes', 'the old machine is off, and the newest snapshot there is the one to go back to')
        .option(
          '--beside',
          'the old machine may still run: nothing changes on the target until an owner has looked at what was recovered',
        )
        .option('--accept-warnings', 'go on although something about the repository is not as it should be')
        .option('--go-live', 'work at once, instead of waiting in quarantine for an owner to look at it')
        .addOption(
          new Option('--daily <way>', 'on the machine image: how the volume is opened every day')
            .choices(['passphrase', 'tpm2', 'kms-hook'])
            .default('passphrase'),
        )
        .option(
          '--passphrase-file <file>',
          'on the machine image: holds the passphrase; asked for when absent',
        ),
    (context, options) => recover(context, options),
  );
}

async function recover(context: CommandContext, options: Options): Promise<number> {
  const { config, output } = context;
  const settings = config();
  const plan = await readPlan(options);
  const kit = await readWholeKit(plan.kit);
  const { signal, done } = untilInterrupted();
  const bar = output.progress();
  try {
    const host = settings.hostSocket === undefined ? undefined : requireHost(connectHost(settings));
    const rootKeyFile = settings.rootKeyFile ?? (host === undefined ? undefined : MACHINE_ROOT_KEY);
    const scene = { context, plan, kit, signal, rootKeyFile, bar };
    if (plan.setBack !== undefined) await setBack(scene, requireHost(host));
    else if (host === undefined) await recoverHere(scene);
    else await recoverOntoMachine(scene, host);
    return EXIT.ok;
  } finally {
    bar.stop();
    done();
  }
}

interface Scene {
  context: CommandContext;
  plan: Plan;
  kit: RecoveryKit;
  signal: AbortSignal;
  rootKeyFile: string | undefined;
  bar: ReturnType<CommandContext['output']['progress']>;
}

function recoverInto(
  dataDir: string,
  scene: Scene,
  target: TargetConfig,
  tell?: Tell,
): Promise<RecoveryReport> {
  const { plan, kit, signal, rootKeyFile, bar } = scene;
  const { output } = scene.context;
  return recoverAppliance({
    ...{ kit, dataDir, rootKeyFile, signal, clock: systemClock },
    target,
    snapshot: plan.snapshot,
    point: plan.point,
    setBack: plan.setBack,
    beside: plan.beside,
    goLive: plan.goLive,
    knownHead: plan.setBack?.knownHead,
    confirm: (question) => confirm(question, plan, output),
    step: (name) => {
      output.note(name);
      tell?.({ step: name });
    },
    progress: ({ bytesDone, bytesTotal, filesDone }) => {
      bar.update(bytesDone, bytesTotal, `${filesDone} files`);
      tell?.({ bytesDone, filesDone, ...(bytesTotal === undefined ? {} : { bytesTotal }) });
    },
  });
}

async function recoverHere(scene: Scene): Promise<void> {
  const { plan, context, bar } = scene;
  const { dataDir } = context.config();
  if (plan.from === undefined) {
    throw new HoldfastError('invalid_input', 'Shares are mounted only on the machine image', {
      hint: 'Mount it yourself, and give its folder with `from`.',
    });
  }
  const report = await recoverInto(dataDir, scene, await readPlace(plan.from, plan));
  bar.stop();
  context.output.result(report, describe(report, dataDir));
}

async function recoverOntoMachine(scene: Scene, host: HostClient): Promise<void> {
  const { plan, kit, context, bar } = scene;
  const { dataDir } = context.config();
  const daily = await readDaily(plan);
  const target: TargetConfig =
    plan.share === undefined
      ? await readPlace(plan.from ?? '', plan)
      : { kind: 'directory', path: await mountTargetShare(host, plan.share) };
  const recovered = await recoverMachine(host, {
    kit,
    daily,
    recover: (tell) => recoverInto(dataDir, scene, target, tell),
  });
  bar.stop();
  context.output.result(recovered, describeMachine(recovered, dataDir));
}

/** Beside the live data; hostd lets them change places. */
async function setBack(scene: Scene, host: HostClient): Promise<void> {
  const { plan, context, bar } = scene;
  const { fresh } = setBackFolders(context.config().dataDir);
  const target = await readPlace(plan.from ?? '', {});
  const report = await setMachineBack(host, (tell) => recoverInto(fresh, scene, target, tell));
  bar.stop();
  context.output.result(report, describe(report, fresh).split('\n').slice(0, -1).join('\n'));
}

interface Plan extends PlaceOptions {
  from?: string | undefined;
  share?: ShareAnswers | undefined;
  kit: string;
  snapshot: string | undefined;
  point?: ChosenPoint | undefined;
  yes: boolean;
  beside?: boolean | undefined;
  acceptWarnings: boolean;
  goLive?: boolean | undefined;
  volume: VolumeAnswers;
  setBack?: RecoveryFile['setBack'];
}

async function readPlan(options: Options): Promise<Plan> {
  if (options.config !== undefined) {
    if (options.from !== undefined || options.kit !== undefined) {
      throw new HoldfastError(
        'invalid_input',
        'The file says where from and with which kit: leave --from and --kit out',
      );
    }
    if (options.toTime !== undefined || options.toLsn !== undefined) {
      throw new HoldfastError('invalid_input', 'The file says the moment: `toTime` or `toLsn` in it');
    }
    const {
      snapshot,
      oldMachineIsOff = false,
      acceptWarnings = false,
      volume = {},
      toTime,
      toLsn,
      ...file
    } = await readRecoveryFile(options.config);
    const point = readPoint({ toTime, toLsn, snapshot: snapshot?.toString() });
    // Whoever writes the file has agreed to the snapshot in it.
    const yes = oldMachineIsOff || file.beside === true;
    return { ...file, snapshot: snapshot?.toString(), point, yes, acceptWarnings, volume };
  }
  if (options.from === undefined || options.kit === undefined) {
    throw new HoldfastError('invalid_input', 'Say where from, and with which kit', {
      hint: 'Give --from and --kit, or --config.',
    });
  }
  return {
    from: options.from,
    hostKey: options.hostKey,
    signInFile: options.signInFile,
    kit: options.kit,
    snapshot: options.snapshot,
    point: readPoint(options),
    yes: options.yes === true,
    beside: options.beside,
    acceptWarnings: options.acceptWarnings === true,
    goLive: options.goLive,
    volume: {
      daily: options.daily,
      ...(options.passphraseFile === undefined ? {} : { passphraseFile: options.passphraseFile }),
    },
  };
}

function readPoint({
  toTime,
  toLsn,
  snapshot,
}: {
  toTime?: string | undefined;
  toLsn?: string | undefined;
  snapshot?: string | undefined;
}): ChosenPoint | undefined {
  if (toTime === undefined && toLsn === undefined) return undefined;
  if (snapshot !== undefined) {
    throw new HoldfastError('invalid_input', 'Give a snapshot or a moment, one of them', {
      hint: 'For a moment the snapshot before it is found by itself.',
    });
  }
  return parsePoint({ time: toTime, lsn: toLsn });
}

async function confirm(
  question: RecoveryQuestion,
  plan: Plan,
  output: CommandContext['output'],
): Promise<boolean> {
  const text = wordsOf(question);
  const agreed = question.kind === 'warning' ? plan.acceptWarnings : plan.yes;
  if (agreed) {
    output.note(`${text} Yes, as given.`);
    return true;
  }
  if (!process.stdin.isTTY) {
    const option = question.kind === 'warning' ? '--accept-warnings' : '--yes';
    throw new HoldfastError('cancelled', `A person has to agree: ${text}`, {
      hint: `Answer beforehand with ${option}.`,
    });
  }
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await reader.question(`${text} [y/N] `)).trim());
  } finally {
    reader.close();
  }
}

function wordsOf(question: RecoveryQuestion): string {
  if (question.kind === 'warning') return `${question.warning.message} Go on all the same?`;
  if (question.kind === 'old-machine-off') {
    return 'Is the old machine off for good? From now on it may write no more to this repository.';
  }
  if (question.kind === 'point') {
    const { point, snapshot: base, clockWentBack } = question;
    const moment = 'time' in point ? formatInstant(point.time) : `position ${point.lsn} in the log`;
    const twice = clockWentBack
      ? ' The clock of the database went back on the way there, so this time came twice: the first is taken. A position (--to-lsn) is exact.'
      : '';
    return `Go back to ${moment}, from snapshot ${base.number} of ${formatInstant(base.takenAt)} on?${twice} Another target may know more.`;
  }
  const hours = Math.round(question.ageMs / 3_600_000);
  const { snapshot, headNumber } = question;
  return `Go back to snapshot ${snapshot.number} of ${formatInstant(snapshot.takenAt)}, ${hours} h ago (head ${headNumber})? Another target may know a newer one.`;
}

async function readDaily({ volume }: Plan): Promise<DailyWay> {
  const { daily = 'passphrase', passphraseFile, passphraseVariable } = volume;
  const label = 'Set at the recovery';
  const pcrs = readTpmPcrs(volume, daily);
  if (daily === 'tpm2') return { kind: daily, label, ...pcrs };
  if (daily === 'kms-hook') return { kind: daily, label };
  if (passphraseFile !== undefined)
    return { kind: daily, label, secret: await readSecretFile(passphraseFile) };
  const secret =
    passphraseVariable === undefined
      ? await askSecret('New passphrase that opens the data volume: ')
      : readSecretFromEnvironment(passphraseVariable);
  return { kind: daily, label, secret };
}

function describeMachine({ report, newVolumeKey }: MachineRecovery, dataDir: string): string {
  const lines = [describe(report, dataDir).split('\n').slice(0, -1).join('\n'), 'The appliance is starting.'];
  lines.push(
    newVolumeKey === undefined
      ? 'The recovery key in the kit opens this volume too.'
      : `Write this recovery key of the new volume on the kit: ${newVolumeKey}`,
  );
  return lines.join('\n');
}

function describe(report: RecoveryReport, dataDir: string): string {
  const { point } = report;
  const moment = point && ('time' in point.asked ? formatInstant(point.asked.time) : point.asked.lsn);
  return [
    `Recovered snapshot ${report.snapshotNumber} of ${formatInstant(report.takenAt)} into ${dataDir}`,
    ...(point === undefined
      ? []
      : [
          `Went on from it to ${moment ?? ''}: ${point.pieces} pieces of the log, ${formatBytes(point.bytes)}; last commit ${point.reachedAt ?? 'that of the snapshot'}`,
        ]),
    `${report.files} files, ${formatBytes(report.bytes)}, ${report.keys} keys; ${report.endedSessions} sessions ended`,
    ...(report.quarantined
      ? [
          'It waits in quarantine: nothing leaves it and only owners get in, until one of them has looked at it (holdfast quarantine release)',
        ]
      : []),
    `Start it with: holdfast serve --data ${dataDir}`,
  ].join('\n');
}
