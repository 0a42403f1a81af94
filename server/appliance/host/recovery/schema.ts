/** Shapes of a recovery that is started in a browser: what is asked, what lies there, how far it is. */
import { Type, type Static } from 'typebox';
import { Instant } from '../../../lib/shapes.ts';
import { HostActor, NewPassphrase } from '../schema.ts';
import { DiskShare, NfsShare, SmbShare } from '../shares/schema.ts';

const strict = { additionalProperties: false };
const orNull = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

/** Where backups lie. */
export const RecoveryPlace = Type.Union([
  NfsShare,
  SmbShare,
  DiskShare,
  Type.Object(
    {
      kind: Type.Literal('directory'),
      path: Type.String({ pattern: '^/[^\\u0000-\\u001f\\u007f]{1,1000}$' }),
    },
    strict,
  ),
]);
export type RecoveryPlace = Static<typeof RecoveryPlace>;

/** Of an SMB share. */
const SharePassword = Type.String({ minLength: 1, maxLength: 256, pattern: '^[^\\r\\n\\u0000]+$' });
/** In any of its forms; whole. Secret. */
const KitText = Type.String({ minLength: 32, maxLength: 65_536 });

const where = { place: RecoveryPlace, password: Type.Optional(SharePassword) };

export const LookRequest = Type.Object({ actor: HostActor, ...where, kit: Type.Optional(KitText) }, strict);
export type LookRequest = Static<typeof LookRequest>;

export const DailyWay = Type.Union([
  Type.Object({ kind: Type.Literal('passphrase'), secret: NewPassphrase }, strict),
  Type.Object({ kind: Type.Union([Type.Literal('tpm2'), Type.Literal('kms-hook')]) }, strict),
]);

export const StartRecoveryRequest = Type.Object(
  {
    actor: HostActor,
    ...where,
    kit: KitText,
    /** Id of the snapshot to go back to. */
    snapshot: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    /** One of the two. The old machine is off for good: from now on it may write no more to this repository. */
    oldMachineIsOff: Type.Optional(Type.Literal(true)),
    /** It may still run: the repository is only read until an owner has looked at what was recovered. */
    beside: Type.Optional(Type.Literal(true)),
    /** What the look warned of is taken into account. */
    acceptWarnings: Type.Optional(Type.Boolean()),
    /** How the volume of this machine is opened every day, beside the recovery key in the kit. */
    daily: DailyWay,
  },
  strict,
);
export type StartRecoveryRequest = Static<typeof StartRecoveryRequest>;

const Text = Type.String({ maxLength: 2_000 });

export const OpenedRepository = Type.Object({
  snapshots: Type.Array(
    Type.Object({
      id: Type.String({ pattern: '^[0-9a-f]{64}$' }),
      number: Type.Integer(),
      takenAt: Instant,
      fileCount: Type.Integer(),
      sizeBytes: Type.Number(),
      /** Of it, what a recovery writes: database and files. */
      dataBytes: Type.Number(),
      /** Whether this version starts on it, and why, in plain words. */
      starts: Type.Boolean(),
      fit: Text,
    }),
    { maxItems: 500 },
  ),
  warnings: Type.Array(Type.Object({ message: Text, confirm: Type.Boolean() }), { maxItems: 100 }),
});

export type OpenedRepository = Static<typeof OpenedRepository>;

export const LookAnswer = Type.Object({
  repositoryId: orNull(Type.String({ maxLength: 200 })),
  /** Base64 of age files, newest first: a page tries the kit on them before the kit leaves it. */
  keysObjects: Type.Array(Type.String({ maxLength: 131_072 }), { maxItems: 8 }),
  /** Null where no kit was given. Snapshots newest first. */
  opened: orNull(OpenedRepository),
});
export type LookAnswer = Static<typeof LookAnswer>;

/** What `server/recovery-look.ts` prints: one line. */
export const RepositoryAnswer = Type.Union([
  LookAnswer,
  Type.Object({
    error: Type.Object({ code: Type.String({ maxLength: 64 }), message: Text, hint: Type.Optional(Text) }),
  }),
]);
export type RepositoryAnswer = Static<typeof RepositoryAnswer>;

export const RecoveryProblem = Type.Object({ message: Text, hint: orNull(Text) });
export type RecoveryProblem = Static<typeof RecoveryProblem>;

/** What takes the data folder away under the services: a lost appliance that comes back, a set-back, and undoing one. */
export const RecoveryAct = Type.Union([
  Type.Literal('recovery'),
  Type.Literal('set-back'),
  Type.Literal('undo'),
]);
export type RecoveryAct = Static<typeof RecoveryAct>;

/** How far a recovery is, for page, console and browser. Holds no secret: it is shown to whoever reaches the page. */
export const RecoveryStatus = Type.Object({
  act: RecoveryAct,
  /** Instant of the data that come into use; null where that says nothing. */
  dataFrom: orNull(Instant),
  state: Type.Union([
    Type.Literal('none'),
    Type.Literal('running'),
    Type.Literal('failed'),
    Type.Literal('done'),
  ]),
  /** What is under way, in plain words. */
  step: orNull(Text),
  bytesDone: Type.Number({ minimum: 0 }),
  /** Null while it is not known. */
  bytesTotal: orNull(Type.Number({ minimum: 0 })),
  filesDone: Type.Number({ minimum: 0 }),
  startedAt: orNull(Instant),
  endedAt: orNull(Instant),
  /** Why it failed. */
  problem: orNull(RecoveryProblem),
});
export type RecoveryStatus = Static<typeof RecoveryStatus>;

/** Told by the program that recovers, at most a few times a second. */
export const RecoveryProgress = Type.Object(
  {
    step: Type.Optional(Text),
    bytesDone: Type.Optional(Type.Number({ minimum: 0 })),
    bytesTotal: Type.Optional(Type.Number({ minimum: 0 })),
    filesDone: Type.Optional(Type.Number({ minimum: 0 })),
  },
  strict,
);
export type RecoveryProgress = Static<typeof RecoveryProgress>;
