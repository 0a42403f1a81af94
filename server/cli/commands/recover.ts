import { resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Option, type Command } from 'commander';
import { connectHost, hostPlaces, machineRootKeyFile, requireHost } from '../../appliance/index.ts';
import { recoverAppliance, type RecoveryQuestion, type RecoveryReport } from '../../backups/index.ts';
import { systemClock } from '../../lib/clock.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { formatBytes, formatInstant } from '../output.ts';
import {
  mountTargetShare,
  recoverMachine,
  type DailyWay,
  type MachineRecovery,
  type Tell,
} from '../machine-recovery.ts';
import type { ShareAnswers, VolumeAnswers } from '../answer-file.ts';
import { readRecoveryFile } from '../recovery-file.ts';
import { askSecret, readSecretFile, readSecretFromEnvironment, readWholeKit } from '../secrets.ts';
import { untilInterrupted } from '../signals.ts';

/** On the machine image keyd gets the root key from here; no copy of it may lie on the volume. */
const MACHINE_ROOT_KEY = machineRootKeyFile(hostPlaces());

interface Options {
  config?: string;
  from?: string;
  kit?: string;
  data?: string;
  snapshot?: string;
  yes?: boolean;
  acceptWarnings?: boolean;
  daily: DailyWay['kind'];
  passphraseFile?: string;
}

export function addRecover(program: Command): void {
  addCommand<Options>(
    program,
    'recover',
    'Make a running appliance again on a new machine, from a target and the recovery kit',
    (command) =>
      command
        .option('--from <target>', 'the folder of the target')
        .option('--kit <file>', 'the recovery kit')
        .option('--config <file>', 'all answers, instead of options; see server/cli/recovery.example.yaml')
        .option('--snapshot <which>', `${SNAPSHOT_WORDS}, which it is when absent`)
        .option('--yes', 'the old machine is off, and the newest snapshot there is the one to go back to')
        .option('--accept-warnings', 'go on although something about the repository is not as it should be')
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

async function recover({ config, output }: CommandContext, options: Options): Promise<number> {
  const settings = config();
  const { dataDir } = settings;
  const plan = await readPlan(options);
  const kit = await readWholeKit(plan.kit);
  const { signal, done } = untilInterrupted();
  const bar = output.progress();
  try {
    const host = settings.hostSocket === undefined ? undefined : requireHost(connectHost(settings));
    const daily = host === undefined ? undefined : await readDaily(plan);
    const recoverFrom = (path: string, tell?: Tell) =>
      recoverAppliance({
        target: { kind: 'directory', path: resolve(path) },
        kit,
        dataDir,
        rootKeyFile: settings.rootKeyFile ?? (host === undefined ? undefined : MACHINE_ROOT_KEY),
        snapshot: plan.snapshot,
        clock: systemClock,
        confirm: (question) => confirm(question, plan, output),
        step: (name) => {
          output.note(name);
          tell?.({ step: name });
        },
        progress: ({ bytesDone, bytesTotal, filesDone }) => {
          bar.update(bytesDone, bytesTotal, `${filesDone} files`);
          tell?.({ bytesDone, filesDone, ...(bytesTotal === undefined ? {} : { bytesTotal }) });
        },
        signal,
      });
    if (host === undefined || daily === undefined) {
      if (plan.from === undefined) {
        throw new HoldfastError('invalid_input', 'Shares are mounted only on the machine image', {
          hint: 'Mount it yourself, and give its folder with `from`.',
        });
      }
      const report = await recoverFrom(plan.from);
      bar.stop();
      output.result(report, describe(report, dataDir));
    } else {
      const path = plan.share === undefined ? (plan.from ?? '') : await mountTargetShare(host, plan.share);
      const recovered = await recoverMachine(host, {
        kit,
        daily,
        recover: (tell) => recoverFrom(path, tell),
      });
      bar.stop();
      output.result(recovered, describeMachine(recovered, dataDir));
    }
    return EXIT.ok;
  } finally {
    bar.stop();
    done();
  }
}

interface Plan {
  from?: string | undefined;
  share?: ShareAnswers | undefined;
  kit: string;
  snapshot: string | undefined;
  yes: boolean;
  acceptWarnings: boolean;
  volume: VolumeAnswers;
}

async function readPlan(options: Options): Promise<Plan> {
  if (options.config !== undefined) {
    if (options.from !== undefined || options.kit !== undefined) {
      throw new HoldfastError(
        'invalid_input',
        'The file says where from and with which kit: leave --from and --kit out',
      );
    }
    const {
      snapshot,
      oldMachineIsOff,
      acceptWarnings = false,
      volume = {},
      ...file
    } = await readRecoveryFile(options.config);
    return { ...file, snapshot: snapshot?.toString(), yes: oldMachineIsOff, acceptWarnings, volume };
  }
  if (options.from === undefined || options.kit === undefined) {
    throw new HoldfastError('invalid_input', 'Say where from, and with which kit', {
      hint: 'Give --from and --kit, or --config.',
    });
  }
  return {
    from: options.from,
    kit: options.kit,
    snapshot: options.snapshot,
    yes: options.yes === true,
    acceptWarnings: options.acceptWarnings === true,
    volume: {
      daily: options.daily,
      ...(options.passphraseFile === undefined ? {} : { passphraseFile: options.passphraseFile }),
    },
  };
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
  const hours = Math.round(question.ageMs / 3_600_000);
  const { snapshot, headNumber } = question;
  return `Go back to snapshot ${snapshot.number} of ${formatInstant(snapshot.takenAt)}, ${hours} h ago (head ${headNumber})? Another target may know a newer one.`;
}

async function readDaily({ volume }: Plan): Promise<DailyWay> {
  const { daily = 'passphrase', passphraseFile, passphraseVariable } = volume;
  const label = 'Set at the recovery';
  if (daily !== 'passphrase') return { kind: daily, label };
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
  return [
    `Recovered snapshot ${report.snapshotNumber} of ${formatInstant(report.takenAt)} into ${dataDir}`,
    `${report.files} files, ${formatBytes(report.bytes)}, ${report.keys} keys; ${report.endedSessions} sessions ended`,
    `Start it with: holdfast serve --data ${dataDir}`,
  ].join('\n');
}
