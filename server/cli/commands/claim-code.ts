import type { Command } from 'commander';
import { addCommand } from '../command.ts';
import { formatInstant } from '../output.ts';

export function addClaimCode(program: Command): void {
  addCommand(
    program,
    'claim-code',
    'Make a new claim code for an appliance without an owner; the earlier one ends',
    (command) => command,
    async ({ control, output }) => {
      const renewed = await control().send<{ code: string; expiresAt: string }>(
        'POST',
        '/console/claim-code',
      );
      output.result(
        renewed,
        `${renewed.code}\nGood until ${formatInstant(renewed.expiresAt)}. Open the appliance in a browser and give it there.`,
      );
    },
  );
}
