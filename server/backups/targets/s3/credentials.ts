/**
 * With what requests are signed: an access key that a person gave, or what the machine's role lends. A role's session ends by itself;
 * it is fetched anew some minutes before, and at once when the server says that it is over.
 *
 * The role comes from where the cloud puts it: a container's address (ECS, EKS Pod Identity) when the environment names one, else the
 * metadata service of the machine, version 2 only. Nothing but this ever speaks to the metadata address.
 */
import { readFile } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { containerRole } from '../../../lib/config.ts';
import { systemClock } from '../../../lib/clock.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import type { S3AccessKey, S3Config } from '../../engine.ts';
import { exchange } from './exchange.ts';

export interface Credentials {
  take(): Promise<S3AccessKey>;
  /** Of a role: forget what was lent. Absent for a key that somebody gave. */
  renew?: () => void;
}

interface LentKey extends S3AccessKey {
  /** Milliseconds since 1970. */
  endsAt: number;
}

export interface RolePlaces {
  /** Of the machine's metadata service. */
  metadata: string;
  container?: { url: string; tokenFile?: string | undefined; token?: string | undefined } | undefined;
}

const METADATA = 'http://169.254.169.254';
/** Where ECS and EKS answer; a full address elsewhere must be HTTPS or this machine. */
const CONTAINER_HOSTS = [
  '169.254.170.2',
  '169.254.170.23',
  '[fd00:ec2::23]',
  'localhost',
  '127.0.0.1',
  '[::1]',
];
const ANSWER_MS = 3_000;
const TOKEN_SECONDS = '300';
const RENEW_BEFORE_MS = 5 * 60_000;

/** @throws HoldfastError `target_refused` on `take`, when there is no key and no role. */
export function openCredentials(
  { signIn }: Pick<S3Config, 'signIn'>,
  places: () => RolePlaces = findRolePlaces,
): Credentials {
  if (signIn?.kind === 'access-key') return { take: async () => signIn };
  if (signIn === undefined) {
    return {
      take: () =>
        Promise.reject(
          new HoldfastError('target_refused', 'The access key of this S3 target is not known', {
            hint: 'Give it again on the page of the target.',
          }),
        ),
    };
  }
  let lent: Promise<LentKey> | undefined;
  const fresh = (): Promise<LentKey> => {
    const asked = borrow(places());
    lent = asked;
    asked.catch(() => {
      if (lent === asked) lent = undefined;
    });
    return asked;
  };
  return {
    async take() {
      const present = await lent;
      if (present !== undefined && present.endsAt - RENEW_BEFORE_MS > systemClock.now().getTime())
        return present;
      return fresh();
    },
    renew: () => {
      lent = undefined;
    },
  };
}

function findRolePlaces(): RolePlaces {
  return { metadata: METADATA, container: containerRole() };
}

async function borrow({ metadata, container }: RolePlaces): Promise<LentKey> {
  try {
    if (container !== undefined) return await fromContainer(container);
    return await fromMachine(metadata);
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw noRole(error);
  }
}

function noRole(cause: unknown): HoldfastError {
  return new HoldfastError('target_refused', 'This machine has no role that would open the bucket', {
    hint: 'Attach a role to the machine (its metadata service must allow version 2), or give an access key.',
    cause,
  });
}

async function fromContainer(container: NonNullable<RolePlaces['container']>): Promise<LentKey> {
  const url = new URL(container.url);
  if (url.protocol !== 'https:' && !CONTAINER_HOSTS.includes(url.hostname)) {
    throw new HoldfastError('target_refused', `A role is not fetched from ${url.hostname}`, {
      hint: 'The variables of the container name an address that is neither the cloud’s nor HTTPS.',
    });
  }
  // The token's file is written anew from time to time.
  const token =
    container.tokenFile === undefined ? container.token : await readFile(container.tokenFile, 'utf8');
  const headers = token === undefined ? {} : { authorization: token.trim() };
  return parseKey(await ask(url.href, { headers }));
}

async function fromMachine(metadata: string): Promise<LentKey> {
  const token = await ask(`${metadata}/latest/api/token`, {
    method: 'PUT',
    headers: { 'x-aws-ec2-metadata-token-ttl-seconds': TOKEN_SECONDS },
  });
  const headers = { 'x-aws-ec2-metadata-token': token };
  const roles = `${metadata}/latest/meta-data/iam/security-credentials/`;
  const role = (await ask(roles, { headers })).split('\n')[0]?.trim() ?? '';
  if (!/^[\w+=,.@-]{1,128}$/.test(role)) throw new Error('the metadata service names no role');
  return parseKey(await ask(roles + role, { headers }));
}

/** Past any proxy: what is lent here is for this machine alone. */
async function ask(
  address: string,
  init: { method?: string; headers: Record<string, string> },
): Promise<string> {
  const url = new URL(address);
  const agent = url.protocol === 'https:' ? new HttpsAgent() : new HttpAgent();
  const { method = 'GET', headers } = init;
  const answer = await exchange({
    url,
    agent,
    method,
    headers,
    body: [],
    stallMs: ANSWER_MS,
    limitMs: ANSWER_MS,
  });
  if (answer.status === 200) return answer.body.toString('utf8');
  throw new Error(`the credentials service answers ${String(answer.status)}`);
}

function parseKey(text: string): LentKey {
  const found = JSON.parse(text) as Record<string, unknown>;
  const { AccessKeyId: id, SecretAccessKey: secret, Token: token, Expiration: until } = found;
  const endsAt = Date.parse(String(until));
  if (
    typeof id !== 'string' ||
    typeof secret !== 'string' ||
    typeof token !== 'string' ||
    Number.isNaN(endsAt)
  ) {
    throw new Error('the credentials service answers something else');
  }
  return { kind: 'access-key', accessKeyId: id, secretAccessKey: secret, sessionToken: token, endsAt };
}
