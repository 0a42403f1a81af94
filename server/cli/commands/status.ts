import type { Command } from 'commander';
import type { Overview, SetupState } from '../../appliance/index.ts';
import { addCommand } from '../command.ts';
import { formatBytes, formatInstant, printable, table } from '../output.ts';

export function addStatus(program: Command): void {
  addCommand(
    program,
    'status',
    'What is protected, by which copies, and what is due next',
    (command) => command,
    async ({ control, output }) => {
      const client = control();
      const setup = await client.get<SetupState>('/setup');
      const overview = setup.claimed ? await client.get<Overview>('/overview') : undefined;
      output.result({ setup, overview: overview ?? null }, describe(setup, overview));
    },
  );
}

const VERDICTS: Record<Overview['verdict'], string> = {
  proven: 'PROVEN',
  stored: 'STORED, not yet proven',
  damaged: 'DAMAGED, a backup may not restore',
  'local-only': 'LOCAL COPY ONLY, not protected',
  overdue: 'OVERDUE',
  unprotected: 'UNPROTECTED',
};

function describe(setup: SetupState, overview: Overview | undefined): string {
  if (overview === undefined)
    return 'This appliance has no owner yet. `holdfast claim-code` shows how to take it.';
  const { lastSnapshot, lastProven } = overview;
  const lines = [
    `${printable(setup.applianceName ?? 'This appliance')}: ${VERDICTS[overview.verdict]}`,
    ...overview.sentences.map((sentence) => `  ${sentence}`),
    '',
    `Last snapshot   ${lastSnapshot === null ? 'none' : `${formatInstant(lastSnapshot.takenAt)}, ${lastSnapshot.state}, ${formatBytes(lastSnapshot.sizeBytes)}`}`,
    `Last proven     ${lastProven === null ? 'never' : `${formatInstant(lastProven.at)}, ${lastProven.grade}, from ${printable(lastProven.targetName)}`}`,
    `Could lose      ${describeLoss(overview.loss)}`,
    `Next snapshot   ${formatInstant(overview.nextSnapshotAt)}`,
    `Next test       ${formatInstant(overview.nextRestoreTestAt)}`,
    `Data            ${overview.protects.fileCount} files, ${formatBytes(overview.protects.sizeBytes)}; ${formatBytes(overview.dataDisk.freeBytes)} free`,
  ];
  if (overview.targets.length > 0) {
    const rows = overview.targets.map((target) => [
      printable(target.name),
      formatInstant(target.lastOkAt),
      String(target.snapshotCount),
      formatBytes(target.storedBytes),
      formatInstant(target.provenAt),
      target.sameDisk ? 'local copy, not offsite' : '',
    ]);
    lines.push('', table(['target', 'last ok', 'kept', 'size', 'proven', ''], rows));
  }
  for (const need of overview.needsYou)
    lines.push('', `! ${need.name}: ${need.message}`, `  ${need.hint ?? ''}`.trimEnd());
  return lines.join('\n');
}

function describeLoss(loss: Overview['loss']): string {
  if (loss.state === 'off')
    return 'what came after the newest snapshot; not measured: the log is not shipped';
  if (loss.seconds === null)
    return 'what came after the newest snapshot; the log waits for one to go on from';
  const where = `${printable(loss.targetName ?? '')}${loss.sameDisk ? ', on the same disk' : ''}`;
  return `at most ${String(loss.seconds)} s, measured by ${where} (objective ${String(loss.objectiveSeconds)} s)`;
}
