import type { Command } from 'commander';
import type { Run } from '../../lib/run-schema.ts';
import { TARGET_WORDS, targetPath } from '../choose-target.ts';
import { addCommand } from '../command.ts';
import { formatBytes, formatInstant } from '../output.ts';
import { describeEnd, followRun, runExitCode } from '../runs.ts';

export function addPrune(program: Command): void {
  addCommand<{ target?: string }>(
    program,
    'prune',
    'Reclaim what no snapshot needs any more, in two steps at least a day apart',
    (command) => command.option('--target <target>', `only there: ${TARGET_WORDS}`),
    async ({ control, output }, { target }) => {
      const client = control();
      const queued = await client.send<Run>('POST', `${await targetPath(client, target)}/prune`);
      const run = await followRun(client, output, queued.id);
      output.result(run, run.state === 'succeeded' ? describe(run) : describeEnd(run));
      return runExitCode(run);
    },
  );
}

function describe(run: Run): string {
  const number = (name: string) => Number(run.result?.[name] ?? 0);
  const nextAt = run.result?.nextAt;
  const lines = [`Deleted ${number('deletedObjects')} objects, ${formatBytes(number('deletedBytes'))}`];
  if (number('waitingObjects') > 0 && typeof nextAt === 'string') {
    lines.push(`${number('waitingObjects')} wait for the second step, from ${formatInstant(nextAt)} on`);
  }
  return lines.join('\n');
}
