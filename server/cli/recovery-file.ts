/** The file behind `holdfast recover --config`: a recovery that nobody stays for. */
import { dirname, resolve } from 'node:path';
import { Type, type Static } from 'typebox';
import { HoldfastError } from '../lib/errors.ts';
import { Id } from '../lib/shapes.ts';
import { AnswerPath, readAnswerFile, ShareAnswers, VolumeAnswers } from './answer-file.ts';

const strict = { additionalProperties: false };

const RecoveryFile = Type.Object(
  {
    /** Folder of the target, or `sftp://user@host:port/folder`, or `s3://bucket/prefix?endpoint=…`; left out where there is a share. */
    from: Type.Optional(AnswerPath),
    /** Of an SFTP target: the fingerprint of its host key, and the file that holds the password or private key; of an S3 target the file with its access key. */
    hostKey: Type.Optional(Type.String({ pattern: '^SHA256:[A-Za-z0-9+/]{43}$' })),
    signInFile: Type.Optional(AnswerPath),
    share: Type.Optional(ShareAnswers),
    /** File that holds the whole recovery kit. */
    kit: AnswerPath,
    /** A number, an id or `latest`, which it is when absent. */
    snapshot: Type.Optional(
      Type.Union([Type.String({ minLength: 1, maxLength: 64 }), Type.Integer({ minimum: 1 })]),
    ),
    /** Instead of a snapshot, one of the two: an instant with its zone, or a position in the write-ahead log. */
    toTime: Type.Optional(Type.String({ minLength: 1, maxLength: 40 })),
    toLsn: Type.Optional(Type.String({ minLength: 1, maxLength: 17 })),
    /** The old machine is off for good, and the snapshot is the one to go back to. Nothing happens without it, or `beside`. */
    oldMachineIsOff: Type.Optional(Type.Boolean()),
    /** The old machine may still run: nothing changes on the target until an owner has looked at what was recovered. */
    beside: Type.Optional(Type.Boolean()),
    acceptWarnings: Type.Optional(Type.Boolean()),
    /** It works at once. Else nothing leaves it, and only owners get in, until one of them says so. */
    goLive: Type.Optional(Type.Boolean()),
    volume: Type.Optional(VolumeAnswers),
    /** Written by hostd, which has asked a person: the appliance of this machine is set back, beside its live data. */
    setBack: Type.Optional(
      Type.Object(
        {
          applianceId: Id,
          knownHead: Type.Optional(
            Type.Object({ number: Type.Integer(), sha256: Type.String({ maxLength: 64 }) }, strict),
          ),
        },
        strict,
      ),
    ),
  },
  strict,
);
export type RecoveryFile = Static<typeof RecoveryFile>;

/** @throws HoldfastError `invalid_input` that names the first thing that is wrong. Relative paths count from the file. */
export async function readRecoveryFile(path: string): Promise<RecoveryFile> {
  const file = await readAnswerFile(path, RecoveryFile, {
    is: 'a recovery file',
    example: 'server/cli/recovery.example.yaml',
  });
  if ((file.share === undefined) === (file.from === undefined)) {
    throw new HoldfastError('invalid_input', `${path}: give \`from\` or a share, one of them`);
  }
  if ((file.oldMachineIsOff === true) === (file.beside === true)) {
    throw new HoldfastError(
      'invalid_input',
      `${path}: say \`oldMachineIsOff: true\` or \`beside: true\`, one of them`,
      {
        hint: 'Beside a machine that may still run, nothing changes on the target until an owner has looked at what was recovered.',
      },
    );
  }
  const folder = dirname(resolve(path));
  const near = (name: string) => resolve(folder, name);
  return {
    ...file,
    kit: near(file.kit),
    ...(file.from === undefined || /^(sftp|s3):/.test(file.from) ? {} : { from: near(file.from) }),
    ...(file.signInFile === undefined ? {} : { signInFile: near(file.signInFile) }),
    ...(file.share?.passwordFile === undefined
      ? {}
      : { share: { ...file.share, passwordFile: near(file.share.passwordFile) } }),
    ...(file.volume?.passphraseFile === undefined
      ? {}
      : { volume: { ...file.volume, passphraseFile: near(file.volume.passphraseFile) } }),
  };
}
