/**
 * The TPM of this machine, through systemd-creds: seals a secret so that only this TPM gives it out, and only while the given
 * registers hold what they hold now. Without verified boot that does not show that it is our system that asks.
 */
import { HoldfastError } from '../../../lib/errors.ts';
import { runProcess } from '../../../lib/spawn.ts';
import type { TpmPcrs } from '../schema.ts';

export interface SecretSealer {
  /** @param pcrs registers as systemd-creds takes them, such as `7` or `7+11`. @returns base64. */
  seal(secret: string, pcrs: string): Promise<string>;
  /** @throws HoldfastError `wrong_key` when the TPM is another, was cleared, or a register changed. */
  unseal(sealed: string): Promise<string>;
}

/** Where nobody chose: what no update of firmware or appliance changes. */
export const DEFAULT_PCRS: TpmPcrs = '7';

const NAME = 'holdfast-unlock';
/** A TPM may be slow, and one that is busy or gone may never answer. */
const TIMEOUT_MS = 20_000;

export const tpmSealer: SecretSealer = {
  async seal(secret, pcrs) {
    const sealed = await runProcess(
      'systemd-creds',
      ['encrypt', `--name=${NAME}`, '--with-key=tpm2', `--tpm2-pcrs=${pcrs}`, '-', '-'],
      { timeoutMs: TIMEOUT_MS, input: secret },
    );
    if (sealed.exitCode === 0) return sealed.stdout.replace(/\s+/g, '');
    throw new HoldfastError('unavailable', 'The TPM of this machine could not seal a key', {
      hint: 'Check that the machine has a TPM 2.0 and that it is enabled.',
      detail: sealed.stderr.slice(-500),
    });
  },
  async unseal(sealed) {
    const opened = await runProcess('systemd-creds', ['decrypt', `--name=${NAME}`, '-', '-'], {
      timeoutMs: TIMEOUT_MS,
      input: sealed,
    });
    if (opened.exitCode === 0) return opened.stdout;
    throw new HoldfastError('wrong_key', 'The TPM of this machine does not give out the key', {
      hint: 'It is missing, was cleared, or the machine starts otherwise than when the key was sealed. Unlock another way, then remove this one and add it anew.',
      detail: opened.stderr.slice(-500),
    });
  },
};
