import type { Command } from 'commander';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { addCommand } from '../command.ts';
import { formatInstant, printable } from '../output.ts';

interface Answer {
  quarantine: { kind: 'recovered' | 'beside' | 'copy'; at: string; reason: string } | null;
}

export function addQuarantine(program: Command): void {
  const words =
    'Whether this appliance may write to its targets, when it was recovered or may be a copy of another';
  const quarantine = program.command('quarantine').summary(words).description(words);
  addCommand(
    quarantine,
    'status',
    'Why backups wait for a person',
    (command) => command,
    async ({ control, output }) => {
      const answer = await control().get<Answer>('/quarantine');
      const found = answer.quarantine;
      output.result(
        answer,
        found === null
          ? 'Not in quarantine.'
          : `In quarantine since ${formatInstant(found.at)}: ${printable(found.reason)}`,
      );
      return found === null ? EXIT.ok : EXIT.error;
    },
  );
  addCommand<{ othersAreOff?: boolean }>(
    quarantine,
    'release',
    'Go on with this appliance',
    (command) => command.option('--others-are-off', 'every copy of this appliance is off for good'),
    async ({ control, output }, options) => {
      if (options.othersAreOff !== true) {
        throw new HoldfastError('invalid_input', 'Two copies must never write to one target', {
          hint: 'Switch the other one off, then say so with --others-are-off.',
        });
      }
      await control().send('POST', '/quarantine/release', { othersAreOff: true });
      output.result(
        { released: true },
        'Released. Backups, mail and everything else that leaves this appliance go on.',
      );
      return EXIT.ok;
    },
  );
}
