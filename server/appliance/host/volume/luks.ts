/**
 * The LUKS2 header of the data volume, through stock cryptsetup. Secrets go by standard input; nothing here maps a device, so all
 * of it works on image files too.
 */
import { Value } from 'typebox/value';
import { Type, type Static } from 'typebox';
import { HoldfastError } from '../../../lib/errors.ts';
import { runProcess, type ProcessOutput } from '../../../lib/spawn.ts';

export const CLAIMED_LABEL = 'holdfast-data';
/** From the first boot to the claim: whatever is on it may go at the next start. */
export const UNCLAIMED_LABEL = 'holdfast-unclaimed';
/** Of our entries in the header's list of tokens. */
export const TOKEN_TYPE = 'holdfast-way';
/** Slots that a LUKS2 header has room for with keys of this size. */
export const MOST_KEYSLOTS = 16;

/** What a slot costs whoever guesses at its secret, which is in somebody's head or is 32 random bytes that no guessing finds. */
export type SecretKind = 'guessable' | 'random';

const argon2id = (memoryKib: number) => [
  ...['--pbkdf', 'argon2id', '--pbkdf-memory', String(memoryKib)],
  ...['--pbkdf-force-iterations', '4', '--pbkdf-parallel', '1'],
];
/** Pinned: cryptsetup would measure, and a slow or emulated machine would get a weak slot. */
const SLOT_COST: Record<SecretKind, string[]> = { guessable: argon2id(65_536), random: argon2id(1_024) };
/** Of the one slot of a first boot: random too, and it goes with the claim. */
const MEMORY_SLOT_COST = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
/** Trying every slot takes seconds each on an emulated machine. */
const TIMEOUT_MS = 300_000;
const WRONG_KEY_EXIT = 2;

const Metadata = Type.Object({
  keyslots: Type.Record(Type.String(), Type.Object({})),
  tokens: Type.Record(Type.String(), Type.Object({ type: Type.String() })),
});

export interface LuksHeader {
  uuid: string;
  label: string;
  /** Slots that hold a key, ascending. */
  keyslots: number[];
  /** By their number. */
  tokens: Map<number, { type: string } & Record<string, unknown>>;
}

/** Makes a new volume whose slot 0 opens with `secret`, a random one. Whatever was on the device is gone. */
export async function formatVolume(device: string, secret: string, label: string): Promise<void> {
  await must(
    [
      ...['luksFormat', '--batch-mode', '--type', 'luks2', '--label', label],
      ...['--cipher', 'aes-xts-plain64', '--key-size', '512', '--hash', 'sha256', ...MEMORY_SLOT_COST],
      ...['--key-slot', '0', '--key-file', '-', device],
    ],
    'The data disk could not be formatted',
    secret,
  );
}

/** @returns undefined when there is no readable LUKS2 header. */
export async function readHeader(device: string): Promise<LuksHeader | undefined> {
  const [facts, metadata] = await Promise.all([readFacts(device), readMetadata(device)]);
  const uuid = facts.get('UUID');
  if (facts.get('TYPE') !== 'crypto_LUKS' || uuid === undefined || metadata === undefined) return undefined;
  return {
    uuid,
    label: facts.get('LABEL') ?? '',
    keyslots: Object.keys(metadata.keyslots).map(Number).sort(ascending),
    tokens: new Map(Object.entries(metadata.tokens).map(([id, token]) => [Number(id), token])),
  };
}

/** What blkid finds by looking at the device itself, not at a cache. */
export async function readFacts(device: string): Promise<Map<string, string>> {
  const found = await runProcess('blkid', ['--probe', '--output', 'export', device], { timeoutMs: 60_000 });
  const lines = found.stdout.split('\n').map((line) => /^([A-Z_]+)=(.*)$/.exec(line));
  // Its values are safe for a shell: what is special to one has a backslash before it.
  const plain = (value = '') => value.replace(/\\(.)/g, '$1');
  return new Map(lines.flatMap((match) => (match ? [[match[1] ?? '', plain(match[2])] as const] : [])));
}

async function readMetadata(device: string): Promise<Static<typeof Metadata> | undefined> {
  const dump = await cryptsetup(['luksDump', '--dump-json-metadata', device]);
  if (dump.exitCode !== 0) return undefined;
  const value: unknown = JSON.parse(dump.stdout);
  return Value.Check(Metadata, value) ? value : undefined;
}

/** @returns the slot that the secret opens, or undefined. */
export async function findKeyslot(device: string, secret: string): Promise<number | undefined> {
  const tried = await cryptsetup(
    ['open', '--test-passphrase', '--verbose', '--key-file', '-', device],
    secret,
  );
  return openedSlot(tried);
}

/** Whether the secret opens just that slot. */
export async function opensKeyslot(device: string, secret: string, keyslot: number): Promise<boolean> {
  const tried = await cryptsetup(
    ['open', '--test-passphrase', '--key-slot', String(keyslot), '--key-file', '-', device],
    secret,
  );
  if (tried.exitCode === 0) return true;
  if (tried.exitCode === WRONG_KEY_EXIT || tried.exitCode === 1) return false;
  throw failure('The data volume could not be tried', tried);
}

/**
 * Opens the volume under a name of the device mapper.
 *
 * @param keyslot the only one to try; without it all are, each at its full cost.
 * @returns the slot, or undefined for a wrong key.
 */
export async function openMapped(
  device: string,
  name: string,
  secret: string,
  keyslot?: number,
): Promise<number | undefined> {
  const only = keyslot === undefined ? [] : ['--key-slot', String(keyslot)];
  return openedSlot(
    await cryptsetup(
      ['open', '--type', 'luks2', '--verbose', '--key-file', '-', ...only, device, name],
      secret,
    ),
  );
}

function openedSlot(tried: ProcessOutput): number | undefined {
  if (tried.exitCode === WRONG_KEY_EXIT) return undefined;
  const slot = /Key slot (\d+) unlocked/.exec(tried.stdout + tried.stderr)?.[1];
  if (tried.exitCode === 0 && slot !== undefined) return Number(slot);
  throw failure('The data volume could not be opened', tried);
}

/** @param existing opens any slot of the volume. @throws HoldfastError `wrong_key` when it opens none. */
export async function addKeyslot(
  device: string,
  existing: string,
  secret: string,
  keyslot: number,
  kind: SecretKind,
): Promise<void> {
  const added = await cryptsetup(
    ['luksAddKey', '--batch-mode', '--new-key-slot', String(keyslot), ...SLOT_COST[kind], device],
    `${existing}\n${secret}\n`,
  );
  if (added.exitCode === WRONG_KEY_EXIT)
    throw new HoldfastError('wrong_key', 'The given key does not open the data volume');
  if (added.exitCode !== 0) throw failure('The key slot could not be added', added);
}

/** Makes a slot unusable. Absent is fine. */
export async function killKeyslot(device: string, keyslot: number): Promise<void> {
  const killed = await cryptsetup(['luksKillSlot', '--batch-mode', device, String(keyslot)]);
  if (killed.exitCode === 0) return;
  const header = await readHeader(device);
  if (header?.keyslots.includes(keyslot) === false) return;
  throw failure('The key slot could not be removed', killed);
}

export async function setLabel(device: string, label: string): Promise<void> {
  await must(['config', '--label', label, device], 'The data volume could not be labelled');
}

/** Keeps a small JSON object in the header, bound to a slot. */
export async function addToken(
  device: string,
  keyslot: number,
  content: Record<string, unknown>,
): Promise<void> {
  const token = { ...content, type: TOKEN_TYPE, keyslots: [String(keyslot)] };
  await must(
    ['token', 'import', '--json-file', '-', device],
    'The header of the data volume could not be written',
    JSON.stringify(token),
  );
}

export async function removeToken(device: string, id: number): Promise<void> {
  await must(
    ['token', 'remove', '--token-id', String(id), device],
    'The header of the data volume could not be written',
  );
}

/** @param file must not exist. */
export async function backUpHeader(device: string, file: string): Promise<void> {
  await must(
    ['luksHeaderBackup', '--batch-mode', '--header-backup-file', file, device],
    'The header of the data volume could not be saved',
  );
}

async function must(args: string[], message: string, input?: string): Promise<void> {
  const done = await cryptsetup(args, input);
  if (done.exitCode !== 0) throw failure(message, done);
}

function failure(message: string, ended: ProcessOutput): HoldfastError {
  return new HoldfastError('unavailable', message, {
    hint: 'Look at the disk: it may be failing, or another program may use it.',
    detail: `exit ${ended.exitCode ?? ended.signal ?? ''}: ${ended.stderr.slice(-500)}`,
  });
}

function cryptsetup(args: string[], input?: string): Promise<ProcessOutput> {
  return runProcess('cryptsetup', args, {
    timeoutMs: TIMEOUT_MS,
    maxOutputBytes: 1024 * 1024,
    ...(input === undefined ? {} : { input }),
  });
}

function ascending(left: number, right: number): number {
  return left - right;
}
