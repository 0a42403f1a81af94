/** The file behind `holdfast setup --config`. */
import { dirname, resolve } from 'node:path';
import { Type, type Static } from 'typebox';
import { ApplianceSettingsChange } from '../appliance/index.ts';
import {
  DirectoryTargetRequest,
  S3TargetRequest,
  ScheduleChange,
  SftpTargetRequest,
} from '../backups/index.ts';
import { Email, PersonName } from '../identity/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { NewAssertion } from '../restore-tests/index.ts';
import { AnswerPath, readAnswerFile, SecretVariable, ShareAnswers, VolumeAnswers } from './answer-file.ts';

const strict = { additionalProperties: false };

const SetupFile = Type.Object(
  {
    owner: Type.Object(
      {
        name: PersonName,
        email: Email,
        passwordFile: Type.Optional(AnswerPath),
        passwordVariable: Type.Optional(SecretVariable),
      },
      strict,
    ),
    appliance: Type.Object(ApplianceSettingsChange.properties, strict),
    kit: Type.Object(
      {
        /** Who can open the kit file: an age recipient of the operator. */
        recipient: Type.String({ pattern: '^age1[a-z0-9]{20,2100}$' }),
        /** Left out: the sealed kit waits in the appliance for the owner to fetch it. */
        file: Type.Optional(AnswerPath),
      },
      strict,
    ),
    /** On the machine image: the way that opens the data volume every day, beside the recovery key in the kit. */
    volume: Type.Optional(VolumeAnswers),
    /** PEM: the certificate that browsers see, its authorities after it, and its key. */
    certificate: Type.Optional(
      Type.Object(
        {
          file: AnswerPath,
          keyFile: Type.Optional(AnswerPath),
        },
        strict,
      ),
    ),
    /** On the machine image: storage from elsewhere that the target lies on. */
    share: Type.Optional(ShareAnswers),
    /** Its path is left out where there is a share: the folder is one that the share is given. */
    target: Type.Union([
      Type.Object(
        { ...DirectoryTargetRequest.properties, path: Type.Optional(DirectoryTargetRequest.properties.path) },
        strict,
      ),
      Type.Object(
        {
          ...Type.Omit(SftpTargetRequest, ['signIn', 'port', 'fingerprint']).properties,
          port: Type.Optional(SftpTargetRequest.properties.port),
          /** Of the host key, as whoever runs the server says. */
          hostKey: Type.String({ pattern: '^SHA256:[A-Za-z0-9+/]{43}$' }),
          /** Holds the private key, or the password on one line. */
          signInFile: Type.Optional(AnswerPath),
          passwordVariable: Type.Optional(SecretVariable),
        },
        strict,
      ),
      Type.Object(
        {
          ...Type.Omit(S3TargetRequest, ['signIn', 'ca', 'prefix', 'pathStyle']).properties,
          prefix: Type.Optional(S3TargetRequest.properties.prefix),
          /** True when it is left out: servers of one's own want it, and Amazon takes it. */
          pathStyle: Type.Optional(Type.Boolean()),
          /** PEM of the authority that signed the server's certificate. */
          caFile: Type.Optional(AnswerPath),
          /** Holds the access key id, the secret key and perhaps a session token, a line each. */
          signInFile: Type.Optional(AnswerPath),
          accessKeyId: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
          /** Holds the secret key that belongs to `accessKeyId`. */
          secretKeyVariable: Type.Optional(SecretVariable),
          /** True: what the role of the machine lends. */
          role: Type.Optional(Type.Literal(true)),
        },
        strict,
      ),
    ]),
    schedules: Type.Optional(
      Type.Object(
        {
          snapshot: Type.Optional(ScheduleChange.properties.cron),
          restoreTest: Type.Optional(ScheduleChange.properties.cron),
          fullRestoreTest: Type.Optional(ScheduleChange.properties.cron),
          recoveryDrill: Type.Optional(ScheduleChange.properties.cron),
          readBack: Type.Optional(ScheduleChange.properties.cron),
          readBackDays: ScheduleChange.properties.days,
        },
        strict,
      ),
    ),
    /** What restore tests are held to. */
    objectives: Type.Optional(
      Type.Object(
        {
          rtoMinutes: Type.Optional(Type.Integer({ minimum: 1, maximum: 43_200 })),
          rpoMinutes: Type.Optional(Type.Integer({ minimum: 1, maximum: 43_200 })),
        },
        strict,
      ),
    ),
    /** What every restored database is asked. One whose name is there already is left alone. */
    assertions: Type.Optional(
      Type.Array(
        Type.Object(
          {
            ...Type.Pick(NewAssertion, ['name', 'sql', 'expected']).properties,
            runsIn: Type.Optional(NewAssertion.properties.runsIn),
            enabled: Type.Optional(NewAssertion.properties.enabled),
          },
          strict,
        ),
        { maxItems: 50 },
      ),
    ),
    firstSnapshot: Type.Optional(Type.Boolean()),
    firstRestoreTest: Type.Optional(Type.Boolean()),
  },
  strict,
);
export type SetupFile = Static<typeof SetupFile>;

/** @throws HoldfastError `invalid_input` that names the first thing that is wrong. Relative paths count from the file. */
export async function readSetupFile(path: string): Promise<SetupFile> {
  const setup = await readAnswerFile(path, SetupFile, {
    is: 'a set-up file',
    example: 'server/cli/setup.example.yaml',
  });
  if ((setup.owner.passwordFile === undefined) === (setup.owner.passwordVariable === undefined)) {
    throw new HoldfastError(
      'invalid_input',
      `${path}: owner needs passwordFile or passwordVariable, one of them`,
    );
  }
  const { target } = setup;
  if (
    target.kind === 'sftp' &&
    (target.signInFile === undefined) === (target.passwordVariable === undefined)
  ) {
    throw new HoldfastError(
      'invalid_input',
      `${path}: the target needs signInFile or passwordVariable, one of them`,
    );
  }
  if (target.kind === 's3') {
    const variable = target.accessKeyId !== undefined && target.secretKeyVariable !== undefined;
    const ways = [target.signInFile !== undefined, variable, target.role === true].filter(Boolean);
    if (ways.length !== 1) {
      throw new HoldfastError(
        'invalid_input',
        `${path}: the target needs signInFile, or accessKeyId and secretKeyVariable, or role: true, one of them`,
      );
    }
  }
  const hasPlace = target.kind === 's3' || target.path !== undefined;
  if ((setup.share === undefined) !== hasPlace) {
    throw new HoldfastError(
      'invalid_input',
      `${path}: the target needs a path, or the set-up a share, one of them`,
    );
  }
  const from = dirname(resolve(path));
  if (setup.kit.file !== undefined) setup.kit.file = resolve(from, setup.kit.file);
  if (setup.owner.passwordFile !== undefined)
    setup.owner.passwordFile = resolve(from, setup.owner.passwordFile);
  if (setup.certificate !== undefined) {
    setup.certificate.file = resolve(from, setup.certificate.file);
    if (setup.certificate.keyFile !== undefined)
      setup.certificate.keyFile = resolve(from, setup.certificate.keyFile);
  }
  if (target.kind === 's3' && target.caFile !== undefined) target.caFile = resolve(from, target.caFile);
  if (target.kind !== 'directory' && target.signInFile !== undefined)
    target.signInFile = resolve(from, target.signInFile);
  if (setup.share?.passwordFile !== undefined)
    setup.share.passwordFile = resolve(from, setup.share.passwordFile);
  if (setup.volume?.passphraseFile !== undefined)
    setup.volume.passphraseFile = resolve(from, setup.volume.passphraseFile);
  return setup;
}
