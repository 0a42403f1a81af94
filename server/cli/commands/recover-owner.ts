import type { Command } from 'commander';
import { answerKitChallenge } from '../../keys/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { addCommand } from '../command.ts';
import { askSecret, readSecretFile, readWholeKit } from '../secrets.ts';

interface Options {
  kit: string;
  passwordFile?: string;
  removeSecondFactors?: boolean;
}

interface Recovered {
  userId: string;
  secondFactors: 'kept' | 'removed' | 'none';
}

const FACTORS: Record<Recovered['secondFactors'], string> = {
  kept: 'The second factor is asked for as before; if it is lost too, run this again with --remove-second-factors.',
  removed: 'Every second factor was taken away; the next sign-in asks for a new one before anything else.',
  none: 'There was no second factor; the next sign-in asks for one before anything else.',
};

export function addRecoverOwner(program: Command): void {
  addCommand<Options>(
    program,
    'recover-owner',
    'Set a new password for a sole owner who lost it, with the recovery kit',
    (command) =>
      command
        .requiredOption('--kit <file>', 'the recovery kit')
        .option('--password-file <file>', 'the new password; asked for when absent')
        .option(
          '--remove-second-factors',
          'also take passkeys, authenticator app and recovery codes away, when these are lost too',
        ),
    async ({ control, output }, options) => {
      const kit = await readWholeKit(options.kit);
      const password =
        options.passwordFile === undefined ? await askTwice() : await readSecretFile(options.passwordFile);
      const client = control();
      const { challenge } = await client
        .send<{ challenge: string }>('POST', `/recovery-kits/${kit.kitId}/challenge`)
        .catch(explainForeignKit);
      const response = await answerKitChallenge(kit.kitId, kit.ageIdentity, challenge);
      const removeSecondFactors = options.removeSecondFactors === true;
      const body = { kitId: kit.kitId, response, password, removeSecondFactors };
      const recovered = await client.send<Recovered>('POST', '/console/recover-owner', body);
      output.result(
        recovered,
        `The password is set. Every session of the owner has ended; sign in with the new one. ${FACTORS[recovered.secondFactors]}`,
      );
    },
  );
}

/** To the appliance an unknown kit is nothing; to whoever holds it, it is the wrong key. */
function explainForeignKit(error: unknown): never {
  if (!(error instanceof HoldfastError) || error.code !== 'not_found') throw error;
  throw new HoldfastError('wrong_key', error.message, {
    hint: 'Take the kit whose id the page Keys or `holdfast keys status` shows.',
    cause: error,
  });
}

async function askTwice(): Promise<string> {
  const first = await askSecret('New password: ');
  if (first !== (await askSecret('The same again: '))) {
    throw new HoldfastError('invalid_input', 'The two passwords are not the same');
  }
  return first;
}
