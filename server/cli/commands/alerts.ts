import type { Command } from 'commander';
import type { AlertPage } from '../../monitoring/index.ts';
import { EXIT } from '../../lib/errors.ts';
import { addCommand } from '../command.ts';
import { printable } from '../output.ts';

export function addAlerts(program: Command): void {
  addCommand(
    program,
    'alerts',
    'List what is not well; ends with an error while a problem needs somebody',
    (command) => command.option('--ended', 'those that are over, the newest 50'),
    async ({ control, output }, options: { ended?: boolean }) => {
      const state = options.ended === true ? 'ended' : 'open';
      const page = await control().get<AlertPage>(`/alerts?state=${state}`);
      const lines = page.items.map(describe);
      output.result(page, lines.length === 0 ? 'Nothing' : lines.join('\n'));
      const needs = page.items.some((alert) => alert.state === 'bad' && alert.acknowledged === null);
      return state === 'open' && needs ? EXIT.error : EXIT.ok;
    },
  );
}

function describe(alert: AlertPage['items'][number]): string {
  const mark = alert.state === 'bad' ? 'BAD ' : 'WARN';
  const care = alert.acknowledged === null ? '' : ', taken care of';
  const over = alert.endedAt === null ? '' : `, over ${alert.endedAt}`;
  const line = `${mark}  ${printable(alert.name)}: ${printable(alert.message)} (since ${alert.since}${care}${over})`;
  return alert.hint === null ? line : `${line}\n      ${printable(alert.hint)}`;
}
