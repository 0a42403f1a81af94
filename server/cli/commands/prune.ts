import type { Command } from 'commander';
import type { Run } from '../../lib/run-schema.ts';
import { addCommand } from '../command.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';

export function addPrune(program: Command): void {
  addCommand(
    program,
    'prune',
    'Reclaim what no snapshot needs any more, in two steps at least a day apart',
    (command) => command,
    async ({ control, output }) => {
      const client = control();
      const queued = await client.send<Run>('POST', '/targets/prune');
      const run = await followRun(client, output, queued.id);
      output.result(run, run.state === 'succeeded' ? JSON.stringify(run.result) : describeEnd(run));
      return runExitCode(run);
    },
  );
}
