/**
 * Showing an authority that a name is ours (RFC 8555, section 8): by a file that port 80 answers with, or by a TXT record that a program
 * of the operator's sets. That program is named by the configuration of the process and by nothing else: never by the web.
 */
import { childEnvironment, type Config } from '../../../lib/config.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import { runProcess } from '../../../lib/spawn.ts';

const PREFIX = '/.well-known/acme-challenge/';
const HOOK_LIMIT_MS = 180_000;
const answers = new Map<string, string>();

/** What port 80 answers for an address; undefined for one that is no open challenge. */
export function answerChallenge(url: string): string | undefined {
  return url.startsWith(PREFIX) ? answers.get(url.slice(PREFIX.length)) : undefined;
}

export interface Challenge {
  type: string;
  token: string;
  /** The name that is to be shown as ours. */
  name: string;
  /** What the file, or the record, is to hold. */
  keyAuthorization: string;
}

/** @throws HoldfastError `unavailable` when the hook fails, with its last words. */
export async function showChallenge(
  config: Config,
  { type, token, name, keyAuthorization }: Challenge,
): Promise<void> {
  if (type === 'http-01') answers.set(token, keyAuthorization);
  else await runHook(config, 'present', name, keyAuthorization);
}

export async function hideChallenge(
  config: Config,
  { type, token, name, keyAuthorization }: Challenge,
): Promise<void> {
  if (type === 'http-01') answers.delete(token);
  else await runHook(config, 'cleanup', name, keyAuthorization);
}

/** `HOOK present|cleanup _acme-challenge.NAME VALUE`; it returns once the record can be seen. */
async function runHook(config: Config, act: string, name: string, value: string): Promise<void> {
  const hook = config.acmeDnsHook;
  if (hook === undefined) throw noHook();
  const end = await runProcess(hook, [act, `_acme-challenge.${name}`, value], {
    timeoutMs: HOOK_LIMIT_MS,
    maxOutputBytes: 4_096,
    env: childEnvironment(),
  });
  if (end.exitCode === 0) return;
  throw new HoldfastError(
    'unavailable',
    `The DNS hook ended with ${end.exitCode ?? end.signal ?? 'no code'}`,
    {
      hint: 'Run it by hand to see why. It must return 0 once the record can be seen by others.',
      detail: end.stderr.slice(-500),
    },
  );
}

export function noHook(): HoldfastError {
  return new HoldfastError('wrong_state', 'The configuration names no hook for DNS', {
    hint: 'Set HOLDFAST_ACME_DNS_HOOK to the path of a program, and start again.',
  });
}
