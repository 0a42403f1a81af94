/** One order of a certificate, by acme-client, which is loaded for it alone. The account's key is made once for each authority. */
import { Agent } from 'node:https';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import type * as Acme from 'acme-client';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import type { Config } from '../../../lib/config.ts';
import { dataPaths } from '../../../lib/data-folder.ts';
import { HoldfastError, messageOf } from '../../../lib/errors.ts';
import { makePrivateDirectory, readFileIfPresent, writeFileDurably } from '../../../lib/files.ts';
import { hideChallenge, showChallenge } from './challenges.ts';
import type { AcmeSettings } from './schema.ts';

/** For one answer of the authority. */
const ANSWER_LIMIT_MS = 30_000;
/** Far more than an authority has to say. */
const MOST_ANSWER_BYTES = 1024 * 1024;
/** For all of an order; the authority looks at each name from several places. */
const ORDER_LIMIT_MS = 10 * 60_000;

const Account = Type.Object({ directoryUrl: Type.String(), key: Type.String(), url: Type.String() });
type Account = Static<typeof Account>;

/**
 * @returns PEM: the chain, its own first, and its new key.
 * @throws HoldfastError `unavailable` that says in plain words why there is no certificate.
 */
export async function orderCertificate(
  config: Config,
  settings: Omit<AcmeSettings, 'enabled'>,
): Promise<{ certificate: string; key: string }> {
  const acme = await import('acme-client');
  const { axios } = acme;
  axios.defaults.timeout = ANSWER_LIMIT_MS;
  axios.defaults.maxRedirects = 0;
  axios.defaults.httpsAgent = new Agent({
    minVersion: 'TLSv1.2',
    ca: settings.authority === null ? undefined : [...rootCertificates, settings.authority],
  });
  // An order that cannot go on is tried again in an hour, not for minutes.
  Object.assign(axios.defaults, { acmeSettings: { retryMaxAttempts: 2, retryDefaultDelay: 1 } });
  const limit = AbortSignal.timeout(ORDER_LIMIT_MS);
  const tooLong = new Promise<never>((_, reject) => {
    limit.addEventListener('abort', () => {
      reject(new HoldfastError('unavailable', 'The authority gave no certificate within ten minutes'));
    });
  });
  axios.defaults.signal = limit;
  axios.defaults.maxContentLength = MOST_ANSWER_BYTES;
  const work = async () => {
    // Its own requests lose the reason when nobody answers, so it is found out before.
    await axios.create().get(settings.directoryUrl);
    const account = await openAccount(config, settings.directoryUrl, acme);
    const client = new acme.Client({
      directoryUrl: settings.directoryUrl,
      accountKey: account.key,
      accountUrl: account.url,
      backoffAttempts: 30,
      backoffMin: 1_000,
      backoffMax: 10_000,
    });
    const [commonName = ''] = settings.names;
    const [key, csr] = await acme.crypto.createCsr(
      { commonName, altNames: [...settings.names] },
      await acme.crypto.createPrivateEcdsaKey('P-256'),
    );
    const name = (identifier: { value: string }) => identifier.value;
    const certificate = await client.auto({
      csr,
      termsOfServiceAgreed: true,
      challengePriority: [settings.challenge],
      // The authority looks itself, and we cannot see our names from outside.
      skipChallengeVerification: true,
      challengeCreateFn: ({ identifier }, { type, token }, keyAuthorization) => {
        refuseForeign(settings, identifier.value, type);
        return showChallenge(config, { type, token, name: name(identifier), keyAuthorization });
      },
      challengeRemoveFn: ({ identifier }, { type, token }, keyAuthorization) =>
        hideChallenge(config, { type, token, name: name(identifier), keyAuthorization }),
    });
    return { certificate, key: key.toString() };
  };
  try {
    const ordered = work();
    ordered.catch(() => undefined);
    return await Promise.race([ordered, tooLong]);
  } catch (error) {
    throw explain(error, settings);
  }
}

/** What the authority asks to be shown is ours, in the way that was chosen: its words go to a program of the operator. */
function refuseForeign(
  { names, challenge }: Omit<AcmeSettings, 'enabled'>,
  asked: string,
  type: string,
): void {
  if (type === challenge && names.some((name) => name.replace(/^\*\./, '') === asked)) return;
  throw new HoldfastError('unavailable', 'The authority asked for something that was not ordered');
}

/**
 * In a file that no other account may read, like the certificate's own key beside it. One that was cut off before its address was known
 * is made anew: an authority refuses to be told of an account twice.
 */
async function openAccount(
  config: Config,
  directoryUrl: string,
  acme: Pick<typeof Acme, 'Client' | 'crypto'>,
): Promise<Account> {
  const folder = dataPaths(config.dataDir).tls;
  const path = join(folder, 'acme-account.json');
  const present: unknown = parse(await readFileIfPresent(path));
  if (Value.Check(Account, present) && present.directoryUrl === directoryUrl) return present;
  const key = (await acme.crypto.createPrivateEcdsaKey('P-256')).toString();
  const client = new acme.Client({ directoryUrl, accountKey: key });
  await client.createAccount({ termsOfServiceAgreed: true });
  const account = { directoryUrl, key, url: client.getAccountUrl() };
  await makePrivateDirectory(folder);
  await writeFileDurably(path, JSON.stringify(account), { step: 'tls.acme-account' });
  return account;
}

function parse(content: Buffer | undefined): unknown {
  try {
    return content === undefined ? undefined : JSON.parse(content.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** What operators can do something about. The authority's own words go with it: they name what it could not reach. */
function explain(error: unknown, { directoryUrl, challenge }: Omit<AcmeSettings, 'enabled'>): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const said = messageOf(error)
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .slice(0, 400);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const { host } = new URL(directoryUrl);
  if (
    [
      'ENOTFOUND',
      'EAI_AGAIN',
      'ECONNREFUSED',
      'ETIMEDOUT',
      'ECONNABORTED',
      'EHOSTUNREACH',
      'ECONNRESET',
    ].includes(code)
  ) {
    return new HoldfastError('unavailable', `The authority ${host} does not answer (${code})`, {
      hint: 'Check the address of its directory, and that this machine may reach it: name service, proxy, outgoing firewall.',
      cause: error,
    });
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO/.test(code)) {
    return new HoldfastError(
      'unavailable',
      `The authority ${host} shows a certificate that is not trusted (${code})`,
      {
        hint: 'Give the certificate of the authority that signed it, where that is your own.',
        cause: error,
      },
    );
  }
  const hint =
    challenge === 'http-01'
      ? 'The authority must reach port 80 of this machine under each name, from outside. Check DNS, and the way to it.'
      : 'The authority must see the TXT record of each name. Check what the DNS hook did.';
  return new HoldfastError('unavailable', `The authority ${host} gave no certificate: ${said}`, {
    hint,
    cause: error,
  });
}
