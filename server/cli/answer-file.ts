/**
 * Files of answers, for what is set up without a person: YAML or JSON, checked as a whole before anything is done. Secrets are not
 * in them: they name the file or the variable that holds them.
 */
import { readFile } from 'node:fs/promises';
import { Type, type Static, type TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { parse } from 'yaml';
import { SharePlace, TpmPcrs } from '../appliance/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readSecretFile, readSecretFromEnvironment } from './secrets.ts';

const strict = { additionalProperties: false };
export const AnswerPath = Type.String({ minLength: 1, maxLength: 1024 });
export const SecretVariable = Type.String({ pattern: '^HOLDFAST_(SETUP|OWNER)_[A-Z0-9_]{1,60}$' });

/** The way that opens the data volume of the machine image every day, beside the recovery key in the kit. */
export const VolumeAnswers = Type.Object(
  {
    daily: Type.Optional(
      Type.Union([Type.Literal('passphrase'), Type.Literal('tpm2'), Type.Literal('kms-hook')]),
    ),
    passphraseFile: Type.Optional(AnswerPath),
    passphraseVariable: Type.Optional(SecretVariable),
    /** What the way is bound to; without it, what the page Unlock ways chooses too. */
    tpmPcrs: Type.Optional(TpmPcrs),
  },
  strict,
);
export type VolumeAnswers = Static<typeof VolumeAnswers>;

/** @throws HoldfastError `invalid_input` where registers are named for a way that asks no TPM. */
export function readTpmPcrs(
  { tpmPcrs }: VolumeAnswers,
  kind: NonNullable<VolumeAnswers['daily']>,
): { pcrs?: TpmPcrs } {
  if (tpmPcrs === undefined) return {};
  if (kind === 'tpm2') return { pcrs: tpmPcrs };
  throw new HoldfastError('invalid_input', 'volume.tpmPcrs binds a TPM, and volume.daily is none', {
    hint: 'Take tpmPcrs away, or give `daily: tpm2`.',
  });
}

/** Storage from elsewhere that the target lies on. */
export const ShareAnswers = Type.Object(
  {
    label: Type.String({ minLength: 1, maxLength: 100 }),
    place: SharePlace,
    passwordFile: Type.Optional(AnswerPath),
    passwordVariable: Type.Optional(SecretVariable),
  },
  strict,
);
export type ShareAnswers = Static<typeof ShareAnswers>;

const LIMIT_BYTES = 64 * 1024;

/** @throws HoldfastError `invalid_input` that names the first thing that is wrong, and the example to compare with. */
export async function readAnswerFile<T extends TSchema>(
  path: string,
  schema: T,
  { is, example }: { is: string; example: string },
): Promise<Static<T>> {
  const value = await parseFile(path);
  if (Value.Check(schema, value)) return value;
  const [first] = Value.Errors(schema, value);
  const where =
    first === undefined || first.instancePath === ''
      ? 'the file'
      : first.instancePath.slice(1).replaceAll('/', '.');
  throw new HoldfastError(
    'invalid_input',
    `${path} is not ${is}: ${where}: ${first?.message ?? 'not valid'}`,
    {
      hint: `Compare it with ${example}.`,
    },
  );
}

/** The password of a share; undefined where it needs none. */
export async function readSharePassword(share: ShareAnswers): Promise<string | undefined> {
  if (share.passwordFile !== undefined) return readSecretFile(share.passwordFile);
  return share.passwordVariable && readSecretFromEnvironment(share.passwordVariable);
}

async function parseFile(path: string): Promise<unknown> {
  try {
    const text = await readFile(path, 'utf8');
    if (Buffer.byteLength(text) > LIMIT_BYTES) throw new HoldfastError('too_large', `${path} is too large`);
    // JSON is YAML. Aliases could make a small file enormous.
    return parse(text, { maxAliasCount: 0, prettyErrors: true });
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : '';
    throw new HoldfastError('invalid_input', `${path} cannot be read as YAML or JSON: ${reason}`, {
      cause: error,
    });
  }
}
