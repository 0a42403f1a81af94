import type { Command } from 'commander';
import type { KeydStatus } from '../../keys/index.ts';
import { addCommand } from '../command.ts';
import { formatInstant } from '../output.ts';

export function addKeys(program: Command): void {
  const keys = program.command('keys').summary('The keyring').description('The keyring');
  addCommand(
    keys,
    'status',
    'What the keyring holds: counts and states, never a key',
    (command) => command,
    async ({ control, output }) => {
      const status = await control().get<KeydStatus>('/console/keys');
      output.result(status, describe(status));
    },
  );
}

function describe(status: KeydStatus): string {
  const { repository } = status;
  const kits = repository.kits.map((kit) => `  ${kit.id}  proven ${formatInstant(kit.provenAt)}`);
  return [
    `Keys            ${status.keyCount}, revision ${status.revision}`,
    `Core dumps      ${status.coreDumpsOff ? 'off' : 'ON'}`,
    `Repository      ${repository.repositoryId ?? 'none yet'}, generation ${repository.generation}`,
    `Trust root      ${repository.trustRoot ?? '-'}`,
    `Test identity   ${repository.writeOnly ? 'not kept here (write-only)' : 'kept here'}`,
    `Keyring epoch   ${repository.keyringEpoch}`,
    `Recovery kits   ${repository.kits.length}`,
    ...kits,
    ...status.notices.map((notice) => `! ${notice}`),
  ].join('\n');
}
