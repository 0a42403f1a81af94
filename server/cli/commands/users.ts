import type { Command } from 'commander';
import type { ListedPerson } from '../../identity/index.ts';
import { addCommand } from '../command.ts';
import { formatInstant, printable, table } from '../output.ts';

export function addUsers(program: Command): void {
  const users = program
    .command('users')
    .summary('People of this appliance')
    .description('People of this appliance');
  addCommand(
    users,
    'list',
    'Everybody who may sign in',
    (command) => command,
    async ({ control, output }) => {
      const reply = await control().get<{ items: ListedPerson[] }>('/console/users');
      const rows = reply.items.map((person) => [
        person.id.slice(0, 8),
        printable(person.name),
        printable(person.email),
        person.role,
        person.disabled ? 'disabled' : 'active',
        formatInstant(person.createdAt),
      ]);
      output.result(reply, table(['id', 'name', 'e-mail', 'role', 'state', 'since'], rows));
    },
  );
}
