/**
 * Password hashes: argon2id (RFC 9106) in the PHC string form, computed off the event loop. Few at a time, because each
 * takes memory and a core: a crowd of sign-ins waits instead of stopping everything else.
 */
import { argon2, randomBytes, timingSafeEqual, type Argon2Parameters } from 'node:crypto';
import { networkOf } from '../../lib/door/client-address.ts';
import { HoldfastError } from '../../lib/errors.ts';

/** OWASP's least is 19 MiB and 2 passes; this is above it and takes about a tenth of a second. */
const COST = { memoryKib: 32_768, passes: 3, lanes: 1 };
const SALT_BYTES = 16;
const TAG_BYTES = 32;
const AT_A_TIME = 2;
const WAITING_LIMIT = 100;
/** Of those that wait, from one network: a crowd from one place leaves room for everybody else. */
const WAITING_FROM_ONE = 10;

/** Bounds on a stored string, so that a changed row cannot ask for gigabytes. */
const LIMITS = { memoryKib: 1_048_576, passes: 16, lanes: 8 };
const ENCODED =
  /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/;

let running = 0;
const waiting: { network: string; resume: () => void }[] = [];

/**
 * @returns `$argon2id$v=19$m=…,t=…,p=…$salt$tag`, salt and tag in base64 without padding.
 * @throws HoldfastError `too_many_requests` when a hundred others wait already.
 */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const tag = await derive(password, salt, COST, TAG_BYTES);
  return `$argon2id$v=19$m=${COST.memoryKib},t=${COST.passes},p=${COST.lanes}$${base64(salt)}$${base64(tag)}`;
}

/**
 * Compares in constant time. An unreadable or absent stored hash costs as much as a wrong password and gives false, so
 * that the time does not tell whether an account exists.
 *
 * @param address of whoever asks.
 * @throws HoldfastError `too_many_requests` when a hundred others wait already, or ten from the same network.
 */
export async function verifyPassword(
  password: string,
  encoded: string | null | undefined,
  address?: string,
): Promise<boolean> {
  const stored = parse(encoded ?? '');
  if (stored === undefined) {
    await derive(password, randomBytes(SALT_BYTES), COST, TAG_BYTES, address);
    return false;
  }
  const tag = await derive(password, stored.salt, stored.cost, stored.tag.length, address);
  return timingSafeEqual(tag, stored.tag);
}

function parse(encoded: string): { cost: typeof COST; salt: Buffer; tag: Buffer } | undefined {
  const match = ENCODED.exec(encoded);
  if (match === null) return undefined;
  const [, memory, passes, lanes, salt = '', tag = ''] = match;
  const cost = { memoryKib: Number(memory), passes: Number(passes), lanes: Number(lanes) };
  const sane =
    cost.lanes >= 1 &&
    cost.lanes <= LIMITS.lanes &&
    cost.passes >= 1 &&
    cost.passes <= LIMITS.passes &&
    cost.memoryKib >= 8 * cost.lanes &&
    cost.memoryKib <= LIMITS.memoryKib;
  return sane ? { cost, salt: Buffer.from(salt, 'base64'), tag: Buffer.from(tag, 'base64') } : undefined;
}

async function derive(
  password: string,
  salt: Buffer,
  cost: typeof COST,
  tagLength: number,
  address?: string,
): Promise<Buffer> {
  const parameters: Argon2Parameters = {
    message: password,
    nonce: salt,
    parallelism: cost.lanes,
    memory: cost.memoryKib,
    passes: cost.passes,
    tagLength,
  };
  await takeTurn(address === undefined ? '' : networkOf(address));
  try {
    return await new Promise((resolve, reject) => {
      argon2('argon2id', parameters, (error, tag) => (error ? reject(error) : resolve(tag)));
    });
  } finally {
    const next = waiting.shift();
    if (next) next.resume();
    else running -= 1;
  }
}

/** @param network whoever asks; empty: ourselves. */
async function takeTurn(network: string): Promise<void> {
  if (running < AT_A_TIME) {
    running += 1;
    return;
  }
  const fromThere = waiting.filter((one) => one.network === network).length;
  if (waiting.length >= WAITING_LIMIT || (network !== '' && fromThere >= WAITING_FROM_ONE)) {
    throw new HoldfastError('too_many_requests', 'Too many sign-ins at once', {
      hint: 'Try again in a minute.',
    });
  }
  await new Promise<void>((resume) => waiting.push({ network, resume }));
}

function base64(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '');
}
