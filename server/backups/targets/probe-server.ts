/** What a trial asks of an SFTP server beyond its folder: who it is, where it stands, what it can. */
import { lookup } from 'node:dns/promises';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import { isOwnAddress } from '../../lib/outgoing-address.ts';
import type { SftpConfig, Target } from '../engine.ts';
import type { TargetProbe } from '../schema.ts';
import type { Check } from './probe.ts';
import { sameFingerprint } from './sftp/host-key.ts';
import { askHostKey } from './sftp/lazily.ts';

const NAME = 'host key';

/** Before anybody signs in. A key that nobody compared yet ends the trial, so that no secret goes to a stranger. */
export async function meetServer(
  config: SftpConfig,
): Promise<{ check: Check; hostKey?: NonNullable<TargetProbe['hostKey']> }> {
  const { fingerprint, type } = config.hostKey;
  let shown;
  try {
    shown = await askHostKey(config, type);
  } catch (error) {
    const hint = error instanceof HoldfastError && error.hint !== undefined ? `. ${error.hint}` : '';
    return { check: { name: 'reach', state: 'bad', message: `${messageOf(error)}${hint}` } };
  }
  const confirmed = fingerprint !== '' && sameFingerprint(shown.fingerprint, fingerprint);
  const hostKey = { ...shown, confirmed };
  if (confirmed) {
    return { hostKey, check: { name: NAME, state: 'ok', message: 'It is the one that was compared.' } };
  }
  const message =
    fingerprint === ''
      ? `The server shows ${shown.fingerprint} (${shown.type}). Compare it with what whoever runs the server says; nothing was sent yet.`
      : `The server shows ${shown.fingerprint}, and not ${fingerprint}, which was compared. Somebody may stand between; nothing was sent.`;
  return { hostKey, check: { name: NAME, state: 'bad', message } };
}

/** True when the name leads back to this machine, so that one failure takes both copies. */
export async function isThisMachine(host: string): Promise<boolean> {
  const addresses = await lookup(host, { all: true }).catch(() => []);
  return addresses.some(({ address }) => isOwnAddress(address));
}

/** What the server lacks, and what that means. */
export async function checkFeatures(target: Target): Promise<Check[]> {
  if (target.config.kind !== 'sftp') return [];
  const { FEATURES } = await import('./sftp/requests.ts');
  const present = await target.features();
  const lacking: string[] = [];
  if (!present.has(FEATURES.fsync)) {
    lacking.push(
      `Without ${FEATURES.fsync} the newest objects lie in the server's memory for some seconds: a power cut there may take them.`,
    );
  }
  if (!present.has(FEATURES.hardlink)) {
    lacking.push(
      `Without ${FEATURES.hardlink} objects get their name by a rename; this trial found that it refuses a taken one.`,
    );
  }
  const [first] = lacking;
  if (first === undefined) {
    return [
      { name: 'features', state: 'ok', message: 'The server syncs what it stores, and names it once.' },
    ];
  }
  return [{ name: 'features', state: 'warn', message: lacking.join(' ') }];
}
