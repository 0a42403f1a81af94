import type { Command } from 'commander';
import { superviseAppliance } from '../../supervisor.ts';
import { addCommand } from '../command.ts';

export function addServe(program: Command): void {
  addCommand(
    program,
    'serve',
    'Run the appliance in the foreground; stop it with Ctrl-C or SIGTERM',
    (command) => command,
    async ({ config, output }) => {
      await superviseAppliance(config(), {
        onStarted: (started) => {
          output.note(
            `\nHoldfast is ready: ${started.url}  (after ${(started.startedInMs / 1000).toFixed(1)} s)`,
          );
          if (started.fingerprint !== undefined) output.note(`Certificate, SHA-256: ${started.fingerprint}`);
          if (started.claimCode !== undefined) {
            output.note(`\nThis appliance has no owner yet. Claim code: ${started.claimCode}`);
            output.note('It is good for 24 hours; `holdfast claim-code` makes a new one.\n');
          }
        },
      });
    },
  );
}
