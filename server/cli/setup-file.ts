/**
 * The file behind `holdfast setup --config`: YAML or JSON, checked as a whole before anything is done. Secrets are not in
 * it: it names the file or the variable that holds them.
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { parse } from 'yaml';
import { ApplianceSettingsChange, SharePlace } from '../appliance/index.ts';
import { ScheduleChange, TargetRequest } from '../backups/index.ts';
import { Email, PersonName } from '../identity/index.ts';
import { HoldfastError } from '../lib/errors.ts';

const strict = { additionalProperties: false };

const SetupFile = Type.Object(
  {
    owner: Type.Object(
      {
        name: PersonName,
        email: Email,
        passwordFile: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
        passwordVariable: Type.Optional(Type.String({ pattern: '^HOLDFAST_(SETUP|OWNER)_[A-Z0-9_]{1,60}$' })),
      },
      strict,
    ),
    appliance: Type.Object(ApplianceSettingsChange.properties, strict),
    kit: Type.Object(
      {
        /** Who can open the kit file: an age recipient of the operator. */
        recipient: Type.String({ pattern: '^age1[a-z0-9]{20,2100}$' }),
        file: Type.String({ minLength: 1, maxLength: 1024 }),
      },
      strict,
    ),
    /** On the machine image: the way that opens the data volume every day, beside the recovery key in the kit. */
    volume: Type.Optional(
      Type.Object(
        {
          daily: Type.Optional(
            Type.Union([Type.Literal('passphrase'), Type.Literal('tpm2'), Type.Literal('kms-hook')]),
          ),
          passphraseFile: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
          passphraseVariable: Type.Optional(
            Type.String({ pattern: '^HOLDFAST_(SETUP|OWNER)_[A-Z0-9_]{1,60}$' }),
          ),
        },
        strict,
      ),
    ),
    /** PEM: the certificate that browsers see, its authorities after it, and its key. */
    certificate: Type.Optional(
      Type.Object(
        {
          file: Type.String({ minLength: 1, maxLength: 1024 }),
          keyFile: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
        },
        strict,
      ),
    ),
    /** On the machine image: storage from elsewhere that the target lies on. */
    share: Type.Optional(
      Type.Object(
        {
          label: Type.String({ minLength: 1, maxLength: 100 }),
          place: SharePlace,
          passwordFile: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
          passwordVariable: Type.Optional(
            Type.String({ pattern: '^HOLDFAST_(SETUP|OWNER)_[A-Z0-9_]{1,60}$' }),
          ),
        },
        strict,
      ),
    ),
    /** Its path is left out where there is a share: the folder is one that the share is given. */
    target: Type.Object(
      { ...TargetRequest.properties, path: Type.Optional(TargetRequest.properties.path) },
      strict,
    ),
    schedules: Type.Optional(
      Type.Object(
        {
          snapshot: Type.Optional(ScheduleChange.properties.cron),
          restoreTest: Type.Optional(ScheduleChange.properties.cron),
        },
        strict,
      ),
    ),
    firstSnapshot: Type.Optional(Type.Boolean()),
    firstRestoreTest: Type.Optional(Type.Boolean()),
  },
  strict,
);
export type SetupFile = Static<typeof SetupFile>;

const LIMIT_BYTES = 64 * 1024;

/** @throws HoldfastError `invalid_input` that names the first thing that is wrong. Relative paths count from the file. */
export async function readSetupFile(path: string): Promise<SetupFile> {
  const value = await parseFile(path);
  if (!Value.Check(SetupFile, value)) {
    const [first] = Value.Errors(SetupFile, value);
    const where =
      first === undefined || first.instancePath === ''
        ? 'the file'
        : first.instancePath.slice(1).replaceAll('/', '.');
    throw new HoldfastError(
      'invalid_input',
      `${path} is not a set-up file: ${where}: ${first?.message ?? 'not valid'}`,
      {
        hint: 'Compare it with server/cli/setup.example.yaml.',
      },
    );
  }
  const setup = value;
  if ((setup.owner.passwordFile === undefined) === (setup.owner.passwordVariable === undefined)) {
    throw new HoldfastError(
      'invalid_input',
      `${path}: owner needs passwordFile or passwordVariable, one of them`,
    );
  }
  if ((setup.share === undefined) === (setup.target.path === undefined)) {
    throw new HoldfastError(
      'invalid_input',
      `${path}: the target needs a path, or the set-up a share, one of them`,
    );
  }
  const from = dirname(resolve(path));
  setup.kit.file = resolve(from, setup.kit.file);
  if (setup.owner.passwordFile !== undefined)
    setup.owner.passwordFile = resolve(from, setup.owner.passwordFile);
  if (setup.certificate !== undefined) {
    setup.certificate.file = resolve(from, setup.certificate.file);
    if (setup.certificate.keyFile !== undefined)
      setup.certificate.keyFile = resolve(from, setup.certificate.keyFile);
  }
  if (setup.share?.passwordFile !== undefined)
    setup.share.passwordFile = resolve(from, setup.share.passwordFile);
  if (setup.volume?.passphraseFile !== undefined)
    setup.volume.passphraseFile = resolve(from, setup.volume.passphraseFile);
  return setup;
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
