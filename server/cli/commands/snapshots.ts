import type { Command } from 'commander';
import type { Snapshot } from '../../backups/index.ts';
import { listSnapshots, pickSnapshot, SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import { addCommand } from '../command.ts';
import { formatBytes, formatInstant, printable, table } from '../output.ts';

export function addSnapshots(program: Command): void {
  const snapshots = addCommand<{ all?: boolean }>(
    program,
    'snapshots',
    'List the snapshots, newest first',
    (command) => command.option('--all', 'forgotten ones too'),
    async ({ control, output }, options) => {
      const all = await listSnapshots(control());
      const items = all.filter((one) => options.all === true || one.state !== 'forgotten');
      output.result({ items }, describeAll(items));
    },
  );
  addCommand(
    snapshots,
    'show',
    'Show one snapshot',
    (command) => command.argument('<snapshot>', SNAPSHOT_WORDS),
    async ({ control, output }, _options, wanted) => {
      const snapshot = pickSnapshot(await listSnapshots(control()), wanted);
      output.result(snapshot, describe(snapshot));
    },
  );
}

function describeAll(snapshots: readonly Snapshot[]): string {
  if (snapshots.length === 0) return 'No snapshots yet. `holdfast snapshot` takes the first.';
  const rows = snapshots.map((snapshot) => [
    snapshot.number,
    snapshot.id.slice(0, 12),
    formatInstant(snapshot.takenAt),
    snapshot.state,
    String(snapshot.fileCount),
    formatBytes(snapshot.sizeBytes),
    storedOn(snapshot),
    snapshot.proof?.grade ?? '',
  ]);
  return table(['number', 'id', 'taken', 'state', 'files', 'size', 'on', 'proof'], rows);
}

function describe(snapshot: Snapshot): string {
  const { proof, problems } = snapshot;
  return [
    `Snapshot ${snapshot.number}, ${snapshot.state}`,
    `id       ${snapshot.id}`,
    `taken    ${formatInstant(snapshot.takenAt)}, in ${(snapshot.durationMs / 1000).toFixed(1)} s`,
    `holds    ${snapshot.fileCount} files, ${formatBytes(snapshot.sizeBytes)}`,
    `written  ${formatBytes(snapshot.storedBytes)} for ${formatBytes(snapshot.addedBytes)} that were new`,
    `on       ${storedOn(snapshot) || 'no target'}`,
    `proof    ${proof === null ? 'none yet' : `${proof.grade}, ${formatInstant(proof.at)}`}`,
    ...problems.slice(0, 20).map((problem) => `! ${printable(problem.path)}: ${problem.reason}`),
    ...(problems.length > 20 ? [`! and ${problems.length - 20} more`] : []),
  ].join('\n');
}

function storedOn(snapshot: Snapshot): string {
  return snapshot.targets
    .filter((target) => target.state === 'stored')
    .map((target) => printable(target.name))
    .join(', ');
}
