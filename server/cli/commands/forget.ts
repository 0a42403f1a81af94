import type { Command } from 'commander';
import type { Snapshot } from '../../backups/index.ts';
import type { Run } from '../../lib/run-schema.ts';
import { EXIT } from '../../lib/errors.ts';
import { addCommand } from '../command.ts';
import type { ControlClient } from '../control-client.ts';
import { chooseSnapshot } from '../kit-test.ts';
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
    (command) =>
      command
        .argument('<snapshot>', 'its id, or the start of it')
        .option('--dry-run', 'only say what would go'),
    async ({ control, output }, options, wanted) => {
      const client = control();
      const { snapshotId } = await chooseSnapshot(client, wanted);
      const snapshot = await client.get<Snapshot>(`/snapshots/${snapshotId}`);
      const warnings = await listWarnings(client, snapshot);
      if (options.dryRun === true) {
        output.result(
          { dryRun: true, snapshot, warnings },
          [`Would forget ${describe(snapshot)}`, ...warnings].join('\n'),
        );
        return EXIT.ok;
      }
      for (const warning of warnings) output.note(warning);
      const queued = await client.send<Run>('DELETE', `/snapshots/${snapshotId}`);
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
async function listWarnings(client: ControlClient, snapshot: Snapshot): Promise<string[]> {
  const { items } = await client.get<{ items: Snapshot[] }>('/snapshots?limit=200');
  const others = items.filter((other) => other.id !== snapshot.id && other.state !== 'forgotten');
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
  return `${snapshot.id.slice(0, 12)} of ${formatInstant(snapshot.takenAt)}, ${snapshot.fileCount} files, ${formatBytes(snapshot.sizeBytes)}, on ${targets}`;
}
