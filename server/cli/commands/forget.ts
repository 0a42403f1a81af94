import type { Command } from 'commander';
import type { Snapshot } from '../../backups/index.ts';
import type { Run } from '../../lib/run-schema.ts';
import { EXIT } from '../../lib/errors.ts';
import { listSnapshots, pickSnapshot, SNAPSHOT_WORDS } from '../choose-snapshot.ts';
import { addCommand } from '../command.ts';
import { formatBytes, formatInstant } from '../output.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';

interface Options {
  dryRun?: boolean;
}

export function addForget(program: Command): void {
  addCommand<Options>(
    program,
    'forget',
    'Drop a snapshot; what only it needs is reclaimed by prune',
    (command) => command.argument('<snapshot>', SNAPSHOT_WORDS).option('--dry-run', 'only say what would go'),
    async ({ control, output }, options, wanted) => {
      const client = control();
      const snapshots = await listSnapshots(client);
      const snapshot = pickSnapshot(snapshots, wanted);
      const warnings = listWarnings(snapshots, snapshot);
      if (options.dryRun === true) {
        output.result(
          { dryRun: true, snapshot, warnings },
          [`Would forget ${describe(snapshot)}`, ...warnings].join('\n'),
        );
        return EXIT.ok;
      }
      for (const warning of warnings) output.note(warning);
      const queued = await client.send<Run>('DELETE', `/snapshots/${snapshot.id}`);
      const run = await followRun(client, output, queued.id);
      output.result(
        { run, warnings },
        run.state === 'succeeded' ? `Forgot ${describe(snapshot)}` : describeEnd(run),
      );
      return runExitCode(run);
    },
  );
}

/** What a careful person would want to know before. */
function listWarnings(snapshots: readonly Snapshot[], snapshot: Snapshot): string[] {
  const others = snapshots.filter((other) => other.id !== snapshot.id && other.state !== 'forgotten');
  const warnings: string[] = [];
  if (others.length === 0) warnings.push('! It is the only snapshot.');
  else if (others.every((other) => BigInt(other.number) < BigInt(snapshot.number)))
    warnings.push('! It is the newest snapshot.');
  if (snapshot.proof !== null && others.every((other) => other.proof === null)) {
    warnings.push('! It is the only snapshot that a restore test has proven.');
  }
  return warnings;
}

function describe(snapshot: Snapshot): string {
  const targets = snapshot.targets.map((target) => target.name).join(', ');
  return `snapshot ${snapshot.number} (${snapshot.id.slice(0, 12)}) of ${formatInstant(snapshot.takenAt)}, ${snapshot.fileCount} files, ${formatBytes(snapshot.sizeBytes)}, on ${targets}`;
}
