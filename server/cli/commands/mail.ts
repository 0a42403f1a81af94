import type { Command } from 'commander';
import { EXIT } from '../../lib/errors.ts';
import { addCommand } from '../command.ts';
import { printable } from '../output.ts';

interface TestReply {
  taken: boolean;
  message: string;
  hint: string | null;
  answer: string;
}

export function addMail(program: Command): void {
  const mail = program.command('mail').summary('Sending mail').description('Sending mail');
  addCommand(
    mail,
    'test',
    'Send a test message at once and say what the mail server answered',
    (command) => command.argument('<address>', 'who gets it'),
    async ({ control, output }, _options, address) => {
      const reply = await control().send<TestReply>('POST', '/settings/mail/test', { to: address });
      const said = reply.answer === '' ? '' : `\nThe server said: ${printable(reply.answer)}`;
      output.result(reply, `${printable(reply.message)}. ${reply.hint ?? ''}${said}`);
      return reply.taken ? EXIT.ok : EXIT.error;
    },
  );
}
