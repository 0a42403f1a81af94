/**
 * The recovery kit: what the owner keeps offline. Plain code without Node's modules, because the browser makes, prints and
 * reads kits too; the secret key is made there and never reaches the appliance.
 *
 * Two forms of one content: JSON, and a text that a person can read and whose last two lines are the secret key.
 */
import { HoldfastError } from '../lib/errors.ts';

export interface RecoveryKit {
  kind: 'holdfast-recovery-kit';
  format: 1;
  /** UUID. */
  kitId: string;
  applianceName: string;
  /** RFC 3339, UTC. */
  createdAt: string;
  /** UUID. */
  repositoryId: string;
  /** Base64 of the 32-byte Ed25519 public key. */
  trustRoot: string;
  /** `AGE-SECRET-KEY-1…` Secret. */
  ageIdentity: string;
  /** Opens the encrypted data volume of an appliance that has one. Secret. */
  volumeRecoveryKey: string | null;
  targets: { name: string; kind: string; location: string }[];
  /** What to do with it, one sentence each. */
  steps: string[];
}

/** Longest kit that is read, characters. */
export const MAX_KIT_CHARACTERS = 64 * 1024;
const MAX_TEXT = 1_000;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const IDENTITY = /^AGE-SECRET-KEY-(PQ-)?1[02-9AC-HJ-NP-Z]{58}$/;
const RECIPIENT = /^age1(pq1)?[02-9ac-hj-np-z]{58,4096}$/;
const TRUST_ROOT = /^[A-Za-z0-9+/]{43}=$/;

/** True for a public age key that a kit may have: `age1…` or `age1pq1…`, not those of plugins or passphrases. */
export function isKitRecipient(text: string): boolean {
  return RECIPIENT.test(text);
}

const KIT_STEPS: readonly string[] = [
  'Keep this kit where the appliance is not: a safe, a password manager, a second person.',
  'Whoever holds it can read every backup of this appliance.',
  'New machine: install Holdfast, then run: holdfast recover --from TARGET --kit THIS_FILE --data NEW_FOLDER',
  'Prove it now and then: Restore tests, New test, With the recovery kit.',
];

/** Puts a kit together. @throws invalid_input for a part that is not valid. */
export function makeRecoveryKit(
  parts: Omit<RecoveryKit, 'kind' | 'format' | 'steps' | 'volumeRecoveryKey'> & {
    steps?: readonly string[];
    volumeRecoveryKey?: string | null;
  },
): RecoveryKit {
  return checkKit({
    kind: 'holdfast-recovery-kit',
    format: 1,
    kitId: parts.kitId,
    applianceName: parts.applianceName.trim(),
    createdAt: parts.createdAt,
    repositoryId: parts.repositoryId,
    trustRoot: parts.trustRoot,
    ageIdentity: parts.ageIdentity,
    volumeRecoveryKey: parts.volumeRecoveryKey ?? null,
    targets: parts.targets.map(({ name, kind, location }) => ({
      name: name.trim(),
      kind: kind.trim(),
      location: location.trim(),
    })),
    steps: (parts.steps ?? KIT_STEPS).map((step) => step.trim()),
  });
}

/** The JSON form, one key a line. */
export function kitToJson(kit: RecoveryKit): string {
  return `${JSON.stringify(kit, null, 2)}\n`;
}

/** The text form: what a person needs, and the secret key on the last two lines. */
export function kitToText(kit: RecoveryKit): string {
  const [first, second] = splitIdentity(kit.ageIdentity);
  const targets = kit.targets.map(
    (target) => `Target:       ${target.kind} ${JSON.stringify(target.name)} ${target.location}`,
  );
  return [
    'HOLDFAST RECOVERY KIT, format 1',
    '',
    `Appliance:    ${kit.applianceName}`,
    `Kit:          ${kit.kitId}`,
    `Made:         ${kit.createdAt}`,
    `Repository:   ${kit.repositoryId}`,
    `Trust root:   ${kit.trustRoot}`,
    ...(kit.volumeRecoveryKey === null ? [] : [`Volume key:   ${kit.volumeRecoveryKey}`]),
    ...targets,
    '',
    ...kit.steps.map((step, index) => `${index + 1}. ${step}`),
    '',
    'The secret key, on two lines:',
    first,
    second,
    '',
  ].join('\n');
}

/** The secret key as the last two lines of the text form, and what a person types back. */
export function splitIdentity(identity: string): [string, string] {
  const half = Math.ceil(identity.length / 2);
  return [identity.slice(0, half), identity.slice(half)];
}

export interface ParsedKit {
  /** `AGE-SECRET-KEY-1…` Secret. */
  ageIdentity: string;
  /** The whole kit; undefined when only the secret key was given. */
  kit: RecoveryKit | undefined;
}

/**
 * Reads a kit in any of its forms: JSON, text, or the secret key alone (one line or two, any case, spaces allowed).
 *
 * @throws too_large; invalid_input that says what is missing. The message never holds what was given.
 */
export function parseRecoveryKit(given: string): ParsedKit {
  if (given.length > MAX_KIT_CHARACTERS) {
    throw new HoldfastError('too_large', 'This is too long to be a recovery kit');
  }
  const text = given.replace(/^\uFEFF/, '').trim();
  if (text === '') throw new HoldfastError('invalid_input', 'The recovery kit is empty');
  if (text.startsWith('{')) {
    const kit = parseJsonKit(text);
    return { ageIdentity: kit.ageIdentity, kit };
  }
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  if (lines.some((line) => line.startsWith('HOLDFAST RECOVERY KIT'))) return parseTextKit(lines);
  return { ageIdentity: parseIdentity(text), kit: undefined };
}

/** The secret key from what a person typed: line breaks, spaces and case do not matter. @throws invalid_input */
export function parseIdentity(typed: string): string {
  const identity = typed.replace(/\s+/g, '').toUpperCase();
  if (IDENTITY.test(identity)) return identity;
  throw invalidKit(
    'the secret key is not complete',
    'It is on the last two lines of the kit, from AGE-SECRET-KEY-1 on.',
  );
}

function parseJsonKit(text: string): RecoveryKit {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalidKit('it is not valid JSON', 'Give the file as it was downloaded.');
  }
  return checkKit(value);
}

function parseTextKit(lines: string[]): ParsedKit {
  const field = (name: string): string | undefined =>
    lines
      .find((line) => line.startsWith(`${name}:`))
      ?.slice(name.length + 1)
      .trim();
  if (!(lines.find((line) => line.startsWith('HOLDFAST')) ?? '').endsWith(', format 1')) throw newerKit();
  const ageIdentity = parseIdentity(lines.slice(-2).join(''));
  const targets = lines.flatMap((line) => {
    const match = /^Target:\s+(\S+) ("(?:[^"\\]|\\.)*") (.*)$/.exec(line);
    const [, kind = '', name = '""', location = ''] = match ?? [];
    return match ? [{ name: unquote(name), kind, location }] : [];
  });
  const steps = lines.flatMap((line) => /^\d+\. (.*)$/.exec(line)?.[1] ?? []);
  const kit = checkKit({
    kind: 'holdfast-recovery-kit',
    format: 1,
    kitId: field('Kit'),
    applianceName: field('Appliance'),
    createdAt: field('Made'),
    repositoryId: field('Repository'),
    trustRoot: field('Trust root'),
    ageIdentity,
    volumeRecoveryKey: field('Volume key') ?? null,
    targets,
    steps,
  });
  return { ageIdentity, kit };
}

function unquote(quoted: string): string {
  try {
    return String(JSON.parse(quoted));
  } catch {
    throw invalidKit('the name of a target is damaged', 'Give the file as it was downloaded.');
  }
}

function checkKit(value: unknown): RecoveryKit {
  const kit = (typeof value === 'object' && value !== null ? value : {}) as Record<
    keyof RecoveryKit,
    unknown
  >;
  if (kit.kind !== 'holdfast-recovery-kit')
    throw invalidKit('it is something else', 'Give the kit file of this appliance.');
  if (kit.format !== 1) throw newerKit();
  const { volumeRecoveryKey, targets, steps } = kit;
  const whole: [boolean, string][] = [
    [matches(kit.kitId, UUID), 'the kit id'],
    [isText(kit.applianceName), 'the name of the appliance'],
    [isText(kit.createdAt) && !Number.isNaN(Date.parse(String(kit.createdAt))), 'the date'],
    [matches(kit.repositoryId, UUID), 'the repository id'],
    [matches(kit.trustRoot, TRUST_ROOT), 'the trust root'],
    [matches(kit.ageIdentity, IDENTITY), 'the secret key'],
    [volumeRecoveryKey === null || isText(volumeRecoveryKey), 'the volume recovery key'],
    [Array.isArray(targets) && targets.length <= 100 && targets.every(isKitTarget), 'the list of targets'],
    [Array.isArray(steps) && steps.length <= 100 && steps.every(isText), 'the steps'],
  ];
  const wrong = whole.find(([ok]) => !ok);
  if (wrong) throw invalidKit(`${wrong[1]} is missing or not valid`, 'Give the file as it was downloaded.');
  return kit as unknown as RecoveryKit;
}

function isKitTarget(value: unknown): boolean {
  const target = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  return isText(target.name) && isText(target.kind) && isText(target.location);
}

/** One line: a line break would let one field of the text form pose as another. */
function isText(value: unknown): boolean {
  return typeof value === 'string' && value.length <= MAX_TEXT && !/[\p{Cc}\u2028\u2029]/u.test(value);
}

function matches(value: unknown, pattern: RegExp): boolean {
  return typeof value === 'string' && pattern.test(value);
}

function invalidKit(what: string, hint: string): HoldfastError {
  return new HoldfastError('invalid_input', `This recovery kit cannot be read: ${what}`, { hint });
}

function newerKit(): HoldfastError {
  return new HoldfastError('invalid_input', 'This recovery kit was made by a newer Holdfast', {
    hint: 'Use the newest version of Holdfast.',
  });
}
