import type { Command } from 'commander';
import type { Snapshot } from '../../backups/index.ts';
import { EXIT } from '../../lib/errors.ts';
import type { Run } from '../../lib/run-schema.ts';
import { addCommand } from '../command.ts';
import { formatBytes } from '../output.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';

interface Options {
  wait: boolean;
  acceptWarnings?: boolean;
  takeOver?: boolean;
}

export function addSnapshot(program: Command): void {
  addCommand<Options>(
    program,
    'snapshot',
    'Take a snapshot now, on every target',
    (command) =>
      command
        .option('--no-wait', 'only start it')
        .option('--accept-warnings', 'go on although the target lost or changed something, once you know why')
        .option('--take-over', 'take the repository over from another appliance, which is off for good'),
    async ({ control, output }, options) => {
      const client = control();
      const queued = await client.send<Run>('POST', `/snapshots${consentOf(options)}`);
      if (!options.wait) {
        output.result(queued, `Queued as run ${queued.id}`);
        return EXIT.ok;
      }
      const run = await followRun(client, output, queued.id);
      const id = run.result?.snapshotId;
      const snapshot = typeof id === 'string' ? await client.get<Snapshot>(`/snapshots/${id}`) : undefined;
      output.result(
        { run, snapshot: snapshot ?? null },
        snapshot === undefined ? describeEnd(run) : describe(snapshot),
      );
      return runExitCode(run);
    },
  );
}

function consentOf(options: Options): string {
  const query = new URLSearchParams();
  if (options.acceptWarnings === true) query.set('acceptWarnings', 'true');
  if (options.takeOver === true) query.set('takeOver', 'true');
  return query.size === 0 ? '' : `?${query.toString()}`;
}

function describe(snapshot: Snapshot): string {
  const lines = [
    `${snapshot.id.slice(0, 12)}  ${snapshot.state}  ${snapshot.fileCount} files, ${formatBytes(snapshot.sizeBytes)}`,
    `${formatBytes(snapshot.addedBytes)} new, ${formatBytes(snapshot.storedBytes)} written, ${(snapshot.durationMs / 1000).toFixed(1)} s`,
  ];
  for (const problem of snapshot.problems.slice(0, 20)) lines.push(`! ${problem.path}: ${problem.reason}`);
  return lines.join('\n');
}
