/**
 * The account that SSH lets in. It is made for one opening, with a password for that opening, and removed after it; /etc lies in
 * memory, so it cannot outlive a restart either. It has no rights beyond reading the journal, and there is no way to raise them.
 */
import { randomInt } from 'node:crypto';
import { HoldfastError } from '../../../lib/errors.ts';
import { readAccounts } from '../../../lib/accounts.ts';
import { runProcess } from '../../../lib/spawn.ts';
import { SSH_ACCOUNT } from './schema.ts';

/** Ours on the image, where nothing else has it. */
const ACCOUNT_ID = '975';
const COMMAND_MS = 20_000;
/** What `userdel` says when there is no such account. */
const NO_SUCH_ACCOUNT = 6;

export interface SshAccount {
  /** Makes it anew, whatever an earlier opening left. */
  make(passphrase: string): Promise<void>;
  remove(): Promise<void>;
}

/** Crockford's base 32: no I, L, O, U, so that nothing is misread. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const GROUPS = 6;
const GROUP = 4;

/** 120 random bits, `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`. Secret. */
export function newSshPassphrase(): string {
  const group = () =>
    Array.from({ length: GROUP }, () => ALPHABET.charAt(randomInt(ALPHABET.length))).join('');
  return Array.from({ length: GROUPS }, group).join('-');
}

export const systemAccount: SshAccount = {
  async make(passphrase) {
    await remove();
    const id = ['--uid', ACCOUNT_ID, '--user-group', '--groups', 'systemd-journal'];
    // Its home is the unit's own /tmp, which ends with it.
    const place = ['--system', '--no-create-home', '--home-dir', '/tmp', '--shell', '/bin/bash'];
    await must('useradd', [...id, ...place, SSH_ACCOUNT]);
    // With the method named it asks no PAM, which needs rights that hostd does not have.
    await must('chpasswd', ['--crypt-method', 'SHA512'], `${SSH_ACCOUNT}:${passphrase}\n`);
  },
  remove,
};

async function remove(): Promise<void> {
  if (!readAccounts().some((account) => account.name === SSH_ACCOUNT)) return;
  // Whoever is signed in may still be ending.
  const ended = await runProcess('userdel', ['--force', SSH_ACCOUNT], { timeoutMs: COMMAND_MS });
  if (ended.exitCode !== 0 && ended.exitCode !== NO_SUCH_ACCOUNT) throw failed('userdel', ended.stderr);
}

async function must(command: string, args: readonly string[], input?: string): Promise<void> {
  const options = { timeoutMs: COMMAND_MS, ...(input === undefined ? {} : { input }) };
  const ended = await runProcess(command, args, options);
  if (ended.exitCode !== 0) throw failed(command, ended.stderr);
}

function failed(command: string, said: string): HoldfastError {
  return new HoldfastError('unavailable', `The account for SSH could not be changed (${command})`, {
    hint: 'Nothing is open. Look at the log of holdfast-hostd.',
    detail: said.slice(-500),
  });
}
