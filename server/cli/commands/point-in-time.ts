import type { Command } from 'commander';
import type { PointInTimeStatus } from '../../backups/index.ts';
import { addCommand } from '../command.ts';
import { formatBytes, formatInstant, printable, table } from '../output.ts';

export function addPointInTime(program: Command): void {
  const group = addCommand(
    program,
    'point-in-time',
    'Show how far the write-ahead log is shipped, and which moments can be restored; ends with 1 when a target is behind',
    (command) => command,
    async ({ control, output }) => {
      const status = await control().get<PointInTimeStatus>('/point-in-time');
      output.result(status, describe(status));
      const isWell = status.targets.every((target) => !target.late && target.problem === null);
      return !status.enabled || isWell ? undefined : 1;
    },
  );
  for (const enabled of [true, false]) {
    addCommand(
      group,
      enabled ? 'on' : 'off',
      enabled
        ? 'Ship the log to every target from now on'
        : 'Stop shipping; only snapshots can be restored from then on',
      (command) => command,
      async ({ control, output }) => {
        const client = control();
        const { windowDays, objectiveSeconds, pileLimitBytes } =
          await client.get<PointInTimeStatus>('/point-in-time');
        const change = { enabled, windowDays, objectiveSeconds, pileLimitBytes };
        const status = await client.send<PointInTimeStatus>('PUT', '/point-in-time', change);
        output.result(status, describe(status));
        return undefined;
      },
    );
  }
}

function describe(status: PointInTimeStatus): string {
  if (!status.enabled) return 'Shipping is off. `holdfast point-in-time on` switches it on.';
  const rows = status.targets.map((target) => [
    printable(target.name),
    target.late ? `${target.state}, late` : target.state,
    target.completeAt === null ? 'nothing yet' : formatInstant(target.completeAt),
    target.lagSeconds === null ? '' : `${String(target.lagSeconds)} s`,
    target.worstDaySeconds === null ? '' : `${String(target.worstDaySeconds)} s`,
    formatBytes(target.pendingBytes),
    formatBytes(target.storedBytes),
  ]);
  const windows = status.targets.flatMap((target) =>
    target.windows.map(
      (window) => `${printable(target.name)}: ${formatInstant(window.from)} to ${formatInstant(window.to)}`,
    ),
  );
  const gaps = status.targets.flatMap((target) =>
    target.gaps.map(
      (gap) =>
        `! ${printable(target.name)}: gap (${gap.reason}) from ${gap.since === null ? 'the beginning' : formatInstant(gap.since)} to ${gap.until === null ? 'now' : formatInstant(gap.until)}`,
    ),
  );
  const problems = status.targets.flatMap((target) =>
    target.problem === null ? [] : [`! ${printable(target.name)}: ${target.problem.message}`],
  );
  return [
    `Up to ${String(status.windowDays)} days back; alert beyond ${String(status.objectiveSeconds)} s`,
    table(['target', 'state', 'complete up to', 'behind', 'worst day', 'waits', 'shipped'], rows),
    windows.length === 0 ? 'No moment can be restored yet' : 'Moments that can be restored:',
    ...windows,
    ...gaps,
    ...problems,
  ].join('\n');
}
