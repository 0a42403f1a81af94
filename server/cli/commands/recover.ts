import { resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Option, type Command } from 'commander';
import { recoverAppliance, type RecoveryQuestion, type RecoveryReport } from '../../backups/index.ts';
import { systemClock } from '../../lib/clock.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { formatBytes, formatInstant } from '../output.ts';
import { recoverMachine, type DailyWay, type MachineRecovery } from '../machine-recovery.ts';
import { askSecret, readSecretFile, readWholeKit } from '../secrets.ts';
import { untilInterrupted } from '../signals.ts';

interface Options {
  from: string;
  kit: string;
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
        .requiredOption('--from <target>', 'the folder of the target')
        .requiredOption('--kit <file>', 'the recovery kit')
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
  const { dataDir } = config();
  const kit = await readWholeKit(options.kit);
  const { signal, done } = untilInterrupted();
  const bar = output.progress();
  try {
    const settings = config();
    const daily = settings.hostSocket === undefined ? undefined : await readDaily(options);
    const recoverHere = () =>
      recoverAppliance({
        target: { kind: 'directory', path: resolve(options.from) },
        kit,
        dataDir,
        rootKeyFile: settings.rootKeyFile,
        snapshot: options.snapshot,
        clock: systemClock,
        confirm: (question) => confirm(question, options, output),
        step: (name) => output.note(name),
        progress: ({ bytesDone, bytesTotal, filesDone }) =>
          bar.update(bytesDone, bytesTotal, `${filesDone} files`),
        signal,
      });
    if (daily === undefined) {
      const report = await recoverHere();
      bar.stop();
      output.result(report, describe(report, dataDir));
    } else {
      const recovered = await recoverMachine(settings, { kit, daily, recover: recoverHere });
      bar.stop();
      output.result(recovered, describeMachine(recovered, dataDir));
    }
    return EXIT.ok;
  } finally {
    bar.stop();
    done();
  }
}

async function confirm(
  question: RecoveryQuestion,
  options: Options,
  output: CommandContext['output'],
): Promise<boolean> {
  const text = wordsOf(question);
  const agreed = question.kind === 'warning' ? options.acceptWarnings : options.yes;
  if (agreed === true) {
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

async function readDaily(options: Options): Promise<DailyWay> {
  if (options.daily !== 'passphrase') return { kind: options.daily, label: 'Set at the recovery' };
  const secret =
    options.passphraseFile === undefined
      ? await askSecret('New passphrase that opens the data volume: ')
      : await readSecretFile(options.passphraseFile);
  return { kind: 'passphrase', label: 'Set at the recovery', secret };
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
