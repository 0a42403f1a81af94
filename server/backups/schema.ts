/** Shapes of targets, snapshots and their content, and what is allowed in which state. */
import { Type, type Static } from 'typebox';
import { Run } from '../lib/run-schema.ts';
import { Cursor, Id, Instant, Problem } from '../lib/shapes.ts';
import { RetentionPolicy } from './retention/policy.ts';
import { WorkHours } from '../lib/hours.ts';
import { TargetPace } from './pace-schema.ts';
import { CycleDays, TargetReadBack } from './read-back/schema.ts';
import { SnapshotHold } from './retention/schema.ts';
import { SnapshotUnusual } from './unusual/schema.ts';

export const HostKey = Type.Object({
  /** Such as `ssh-ed25519`. */
  type: Type.String({ maxLength: 64 }),
  fingerprint: Type.String({ maxLength: 100, description: 'As OpenSSH prints it: SHA256:…' }),
});

export const TargetProbe = Type.Object({
  ok: Type.Boolean(),
  at: Instant,
  sameDisk: Type.Boolean(),
  freeBytes: Type.Union([Type.Number(), Type.Null()]),
  existingRepository: Type.Union([Type.String(), Type.Null()]),
  /** What an SFTP server shows now; `confirmed`: it is the one that was compared. */
  hostKey: Type.Optional(Type.Object({ ...HostKey.properties, confirmed: Type.Boolean() })),
  /** True when an S3 server itself says where the bucket stands. */
  regionSaid: Type.Optional(Type.Boolean()),
  checks: Type.Array(
    Type.Object({
      name: Type.String(),
      state: Type.Union([Type.Literal('ok'), Type.Literal('warn'), Type.Literal('bad')]),
      message: Type.String(),
    }),
  ),
});
export type TargetProbe = Static<typeof TargetProbe>;

const common = {
  name: Type.String({ minLength: 1, maxLength: 60, pattern: '^[A-Za-z0-9][A-Za-z0-9 ._-]*$' }),
  region: Type.String({ minLength: 2, maxLength: 64 }),
  /** How long snapshots are kept there; everything, when nothing is said. */
  retention: Type.Optional(RetentionPolicy),
  /** Which of the snapshots on other targets it gets, as far as its policy keeps them. */
  bring: Type.Optional(Type.Union([Type.Literal('newest'), Type.Literal('everything')])),
};

export const DirectoryTargetRequest = Type.Object({
  ...common,
  kind: Type.Literal('directory'),
  /** Absolute path on the appliance. */
  path: Type.String({ minLength: 2, maxLength: 1024, pattern: '^/' }),
});

export const Fingerprint = Type.String({
  pattern: '^SHA256:[A-Za-z0-9+/]{43}$',
  description: 'Fingerprint of the host key that a person compared',
});
export const SftpPlace = {
  host: Type.String({ minLength: 1, maxLength: 253, pattern: '^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$' }),
  port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  username: Type.String({ minLength: 1, maxLength: 128, pattern: '^[^\\s\\x00-\\x1f:/@]+$' }),
  /** Absolute path on the server. */
  path: Type.String({ minLength: 1, maxLength: 1024, pattern: '^/' }),
};
const Password = Type.String({ minLength: 1, maxLength: 1024 });
const PrivateKey = Type.String({ minLength: 1, maxLength: 16_384 });

/** Write-only. */
export const TargetSignIn = Type.Union([
  Type.Object({ kind: Type.Literal('password'), password: Password }),
  Type.Object({ kind: Type.Literal('private-key'), privateKey: PrivateKey }),
  /** A key that this appliance made: `POST /targets/keys`. */
  Type.Object({ kind: Type.Literal('made-key'), keyId: Id }),
]);
export type TargetSignIn = Static<typeof TargetSignIn>;

export const SftpTargetRequest = Type.Object({
  ...common,
  kind: Type.Literal('sftp'),
  ...SftpPlace,
  signIn: TargetSignIn,
  /** Absent at the first trial, which shows it and does not sign in. */
  fingerprint: Type.Optional(Fingerprint),
});
export type SftpTargetRequest = Static<typeof SftpTargetRequest>;

/** Write-only but for the id of the key. */
export const S3SignIn = Type.Union([
  Type.Object({
    kind: Type.Literal('access-key'),
    accessKeyId: Type.String({ minLength: 1, maxLength: 128, pattern: '^[\\x21-\\x7e]+$' }),
    secretAccessKey: Type.String({ minLength: 1, maxLength: 256, pattern: '^[\\x21-\\x7e]+$' }),
    /** Of a key that was lent for some hours. */
    sessionToken: Type.Optional(Type.String({ minLength: 1, maxLength: 8192, pattern: '^[\\x21-\\x7e]+$' })),
  }),
  /** What the role of the machine lends. */
  Type.Object({ kind: Type.Literal('role') }),
]);
export type S3SignIn = Static<typeof S3SignIn>;

export const ObjectLock = Type.Object({
  mode: Type.Union([Type.Literal('governance'), Type.Literal('compliance')]),
  days: Type.Integer({ minimum: 1, maximum: 3650 }),
  /** The days are those for which the target's policy promises to keep a snapshot, and follow it. */
  followsPolicy: Type.Optional(Type.Boolean()),
});
/** Of a target in use: so many days, or as its policy promises. */
export const LockChange = Type.Union([
  Type.Object({ days: ObjectLock.properties.days }, { additionalProperties: false }),
  Type.Object({ followsPolicy: Type.Literal(true) }, { additionalProperties: false }),
]);
export type LockChange = Static<typeof LockChange>;
/** As it holds now. */
const TargetLock = Type.Object({
  mode: ObjectLock.properties.mode,
  days: ObjectLock.properties.days,
  followsPolicy: Type.Boolean(),
  /** What the policy of the target promises, whether the lock follows it or not. */
  policyDays: Type.Integer(),
});
const S3Encryption = Type.Union([
  Type.Object({ kind: Type.Literal('sse-s3') }),
  Type.Object({
    kind: Type.Literal('sse-kms'),
    keyId: Type.Optional(Type.String({ minLength: 1, maxLength: 2048, pattern: '^[\\x21-\\x7e]+$' })),
  }),
]);

export const S3TargetRequest = Type.Object({
  ...common,
  kind: Type.Literal('s3'),
  /** Of the server, without the bucket. */
  endpoint: Type.String({ minLength: 8, maxLength: 300, pattern: '^https?://[^\\s/@?#]+/?$' }),
  bucket: Type.String({ minLength: 3, maxLength: 63, pattern: '^[a-z0-9][a-z0-9.-]*[a-z0-9]$' }),
  prefix: Type.String({
    maxLength: 500,
    pattern: '^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$',
  }),
  pathStyle: Type.Boolean(),
  /** As requests are signed, where the server calls it otherwise than `region`. */
  signingRegion: Type.Optional(
    Type.String({ minLength: 1, maxLength: 63, pattern: '^[A-Za-z0-9][A-Za-z0-9-]*$' }),
  ),
  /** Plain HTTP to another machine. */
  allowHttp: Type.Optional(Type.Boolean()),
  /** PEM of the authority that signed the server's certificate. */
  ca: Type.Optional(Type.String({ minLength: 1, maxLength: 65_536 })),
  /** Those from which objects are read at once. */
  storageClass: Type.Optional(
    Type.Union([
      Type.Literal('STANDARD'),
      Type.Literal('STANDARD_IA'),
      Type.Literal('ONEZONE_IA'),
      Type.Literal('INTELLIGENT_TIERING'),
      Type.Literal('GLACIER_IR'),
    ]),
  ),
  encryption: Type.Optional(S3Encryption),
  lock: Type.Optional(ObjectLock),
  signIn: S3SignIn,
});
export type S3TargetRequest = Static<typeof S3TargetRequest>;

export const TargetRequest = Type.Union([DirectoryTargetRequest, SftpTargetRequest, S3TargetRequest]);
export type TargetRequest = Static<typeof TargetRequest>;

/** The public half of a key that this appliance made to sign in with. */
export const MadeKey = Type.Object({ id: Id, publicKey: Type.String() });
export type MadeKey = Static<typeof MadeKey>;

export const HostKeyChange = Type.Object({ fingerprint: Fingerprint });
export const SignInChange = Type.Object({ signIn: Type.Union([TargetSignIn, S3SignIn]) });
export type SignInChange = Static<typeof SignInChange>;

export const TargetPrice = Type.Object({
  perGbMonth: Type.Number({ minimum: 0, maximum: 100_000, description: 'For 10^9 bytes and a month' }),
  currency: Type.String({ minLength: 1, maxLength: 8, pattern: '^[^\\s<>"&]+$' }),
});
export type TargetPrice = Static<typeof TargetPrice>;

/** Which snapshots a target has, against the others. */
export const TargetCopies = Type.Object({
  /** `empty`: none yet, and none to get. `away`: the last try failed. */
  state: Type.Union([
    Type.Literal('up-to-date'),
    Type.Literal('behind'),
    Type.Literal('away'),
    Type.Literal('copying'),
    Type.Literal('empty'),
    Type.Literal('retired'),
  ]),
  /** Snapshots that others have, that its policy keeps, and that it lacks. */
  behind: Type.Integer(),
  behindBytes: Type.Number({ description: 'About so much is to be copied' }),
  behindSince: Type.Union([Instant, Type.Null()]),
  problem: Type.Union([Problem, Type.Null()]),
  triedAt: Type.Union([Instant, Type.Null()]),
  /** The run that catches it up now. */
  runId: Type.Union([Id, Type.Null()]),
  snapshots: Type.Integer(),
  newest: Type.Union([
    Type.Object({ id: Type.String(), number: Type.String(), takenAt: Instant }),
    Type.Null(),
  ]),
  provenAt: Type.Union([Instant, Type.Null()]),
  verifiedAt: Type.Union([Instant, Type.Null()]),
  sizeBytes: Type.Number(),
  /** False: at most so much, by what was written when each snapshot was taken. */
  sizeExact: Type.Boolean(),
  /** What the snapshots of the last 30 days have added. */
  grownBytes: Type.Number(),
});
export type TargetCopies = Static<typeof TargetCopies>;

export const TargetReply = Type.Object({
  id: Id,
  name: Type.String(),
  kind: Type.Union([Type.Literal('directory'), Type.Literal('sftp'), Type.Literal('s3')]),
  location: Type.String(),
  /** Of an SFTP target. */
  sftp: Type.Union([
    Type.Object({
      host: Type.String(),
      port: Type.Integer(),
      username: Type.String(),
      path: Type.String(),
      hostKey: HostKey,
      signsInBy: Type.Union([Type.Literal('password'), Type.Literal('private-key'), Type.Null()]),
      publicKey: Type.Union([Type.String(), Type.Null()]),
    }),
    Type.Null(),
  ]),
  /** Of an S3 target. */
  s3: Type.Union([
    Type.Object({
      endpoint: Type.String(),
      bucket: Type.String(),
      prefix: Type.String(),
      pathStyle: Type.Boolean(),
      signingRegion: Type.String(),
      /** Another authority than the public ones signed the server's certificate. */
      ownAuthority: Type.Boolean(),
      storageClass: Type.Union([Type.String(), Type.Null()]),
      encryption: Type.Union([S3Encryption, Type.Null()]),
      lock: Type.Union([TargetLock, Type.Null()]),
      signsInBy: Type.Union([Type.Literal('access-key'), Type.Literal('role'), Type.Null()]),
      accessKeyId: Type.Union([Type.String(), Type.Null()]),
    }),
    Type.Null(),
  ]),
  region: Type.String(),
  regionKnownBy: Type.String(),
  sameDisk: Type.Boolean(),
  /** "local copy, not offsite" and the like. */
  label: Type.Union([Type.String(), Type.Null()]),
  probe: Type.Union([TargetProbe, Type.Null()]),
  /** Now, not when it was tried. */
  freeBytes: Type.Union([Type.Number(), Type.Null()]),
  state: Type.Union([Type.Literal('active'), Type.Literal('retired')]),
  lastOkAt: Type.Union([Instant, Type.Null()]),
  lastError: Type.Union([Problem, Type.Null()]),
  createdAt: Instant,
  /** Its place in the order, from 1: the first that can be written to takes each snapshot. */
  position: Type.Integer(),
  copies: TargetCopies,
  readBack: TargetReadBack,
  /** What a person typed, for the estimate. */
  price: Type.Union([TargetPrice, Type.Null()]),
  monthlyCost: Type.Union([Type.Number(), Type.Null()]),
  /** How much may be sent to it; null for as much as it takes. */
  pace: Type.Union([TargetPace, Type.Null()]),
  /** When work that nobody asked for may begin there; null for at any time. */
  workHours: Type.Union([WorkHours, Type.Null()]),
  /** When such work may begin again; null when it may now. */
  waitsUntil: Type.Union([Instant, Type.Null()]),
});
export type TargetReply = Static<typeof TargetReply>;

export const SnapshotState = Type.Union([
  Type.Literal('stored'),
  Type.Literal('partial'),
  Type.Literal('forgotten'),
]);
export type SnapshotState = Static<typeof SnapshotState>;

export const Snapshot = Type.Object({
  /** The hash in its object name, hex. */
  id: Type.String(),
  number: Type.String(),
  state: SnapshotState,
  takenAt: Instant,
  storedAt: Type.Union([Instant, Type.Null()]),
  fileCount: Type.Number(),
  sizeBytes: Type.Number(),
  addedBytes: Type.Number(),
  storedBytes: Type.Number(),
  durationMs: Type.Number(),
  keyringEpoch: Type.String(),
  restorePoint: Type.Union([Type.String(), Type.Null()]),
  /** Where it lies or lay; `state` is `stored`, `missing`, `forgotten`, or `reduced` to logs and configuration. */
  targets: Type.Array(
    Type.Object({
      id: Id,
      name: Type.String(),
      state: Type.String(),
      inUse: Type.Boolean(),
      storedAt: Type.Union([Instant, Type.Null()]),
      forgottenBecause: Type.Union([Type.String(), Type.Null()]),
      /** Parts that are kept no more there: since when, and what the policy says. */
      expired: Type.Array(
        Type.Object({ sections: Type.Array(Type.String()), at: Instant, because: Type.String() }),
      ),
    }),
  ),
  problems: Type.Array(Type.Object({ path: Type.String(), reason: Type.String() })),
  /** The best proof there is of it. */
  proof: Type.Union([
    Type.Object({
      restoreTestId: Id,
      grade: Type.Union([Type.Literal('data-proven'), Type.Literal('kit-proven')]),
      at: Instant,
    }),
    Type.Null(),
  ]),
  /** Legal hold: nothing forgets it. */
  hold: Type.Union([SnapshotHold, Type.Null()]),
  /** It holds much less or much more than those before it. */
  unusual: SnapshotUnusual,
  forgotten: Type.Union([
    Type.Object({
      at: Type.Union([Instant, Type.Null()]),
      because: Type.Union([Type.String(), Type.Null()]),
    }),
    Type.Null(),
  ]),
  runId: Type.Union([Id, Type.Null()]),
});
export type Snapshot = Static<typeof Snapshot>;

export const SnapshotPage = Type.Object({
  items: Type.Array(Snapshot),
  total: Type.Integer(),
  nextCursor: Type.Union([Cursor, Type.Null()]),
});
export const SnapshotQuery = Type.Object({
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
  state: Type.Optional(SnapshotState),
  /** Only those under legal hold. */
  held: Type.Optional(Type.Boolean()),
  order: Type.Optional(Type.Union([Type.Literal('asc'), Type.Literal('desc')], { default: 'desc' })),
});

/** Given once, by an owner or at the console, after finding out what happened to the target. */
export const SnapshotConsentQuery = Type.Object({
  acceptWarnings: Type.Optional(Type.Boolean()),
  takeOver: Type.Optional(Type.Boolean()),
});

/**
 * The content of a snapshot, as people know it: the workspace's own folders and files at that instant, names opened with
 * the appliance's keys, for members of the workspace.
 */
export const SnapshotEntry = Type.Object({
  nodeId: Id,
  parentId: Type.Union([Id, Type.Null()]),
  kind: Type.Union([Type.Literal('folder'), Type.Literal('file')]),
  name: Type.String(),
  sizeBytes: Type.Union([Type.Number(), Type.Null()]),
  modifiedAt: Instant,
  /** Whether the live workspace still has this node, and whether its content differs. */
  live: Type.Union([Type.Literal('same'), Type.Literal('changed'), Type.Literal('deleted')]),
});
export type SnapshotEntry = Static<typeof SnapshotEntry>;
export const SnapshotFolder = Type.Object({
  folderId: Id,
  /** Whether the live workspace still has this folder. */
  present: Type.Boolean(),
  ancestors: Type.Array(Type.Object({ id: Id, name: Type.String() })),
  items: Type.Array(SnapshotEntry),
  nextCursor: Type.Union([Cursor, Type.Null()]),
});
export type SnapshotFolder = Static<typeof SnapshotFolder>;
export const SnapshotFolderQuery = Type.Object({
  folderId: Type.Optional(Id),
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 100 })),
  search: Type.Optional(Type.String({ maxLength: 255 })),
  /** From which target it is read; else from the first that can be. */
  targetId: Type.Optional(Id),
});

/** Restores a file, or a folder with all that is in it, under a name that says of when it is. Reply: the run. */
export const RestoreRequest = Type.Object({
  /** Where it lies in the snapshot; of the top folder of a workspace, itself. */
  folderId: Id,
  nodeId: Id,
  /** From which target; else from the first that can be read. */
  targetId: Type.Optional(Id),
  /** The present one makes room and is kept beside, under another name; else it stays. */
  inPlace: Type.Optional(Type.Boolean({ default: false })),
});

/** A restore of a file or folder that one asked for oneself. */
export const OwnRestore = Type.Object({
  run: Run,
  kind: Type.Union([Type.Literal('file'), Type.Literal('folder')]),
  /** As it was called then; null for everything of a workspace, and where it is not known any more. */
  name: Type.Union([Type.String(), Type.Null()]),
  snapshotId: Type.String(),
  /** Of the snapshot. */
  takenAt: Type.Union([Instant, Type.Null()]),
});
export type OwnRestore = Static<typeof OwnRestore>;

/** A snapshot as whoever may see no operations is told of it. */
export const EarlierState = Type.Object({
  id: Type.String(),
  number: Type.String(),
  takenAt: Instant,
  /** False: something could not be read when it was taken. */
  whole: Type.Boolean(),
});
export type EarlierState = Static<typeof EarlierState>;
export const EarlierStatePage = Type.Object({
  items: Type.Array(EarlierState),
  nextCursor: Type.Union([Cursor, Type.Null()]),
});
export const EarlierStateQuery = Type.Object({
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
});

export const CopyRule = Type.Object({
  /** As it was set; null for all that are in use. */
  set: Type.Union([Type.Integer(), Type.Null()]),
  /** Of the targets that are in use now. */
  needed: Type.Integer(),
  total: Type.Integer(),
  words: Type.String(),
});
export const CopyRuleChange = Type.Object({
  needed: Type.Union([Type.Integer({ minimum: 1, maximum: 100 }), Type.Null()]),
});
export const TargetOrder = Type.Object({ ids: Type.Array(Id, { maxItems: 100, uniqueItems: true }) });
export const PriceChange = Type.Object({ price: Type.Union([TargetPrice, Type.Null()]) });

export const ScheduleName = Type.Union([
  Type.Literal('snapshot'),
  Type.Literal('restore-test'),
  Type.Literal('restore-test-full'),
  Type.Literal('restore-drill'),
  Type.Literal('verify'),
]);
/** What a scheduled restore test takes: the newest copy, the newest of every target, or one drawn at random. */
export const ScheduledCopy = Type.Union([
  Type.Literal('latest'),
  Type.Literal('every-target'),
  Type.Literal('random'),
]);
export const Schedule = Type.Object({
  name: ScheduleName,
  /** Five-field cron, UTC. */
  cron: Type.String({ maxLength: 100 }),
  enabled: Type.Boolean(),
  nextDueAt: Type.Union([Instant, Type.Null()]),
  lastDueAt: Type.Union([Instant, Type.Null()]),
  /** Of restore tests; null for others, and for the drill, where a person chooses. */
  copy: Type.Union([ScheduledCopy, Type.Null()]),
  /** Of `verify`, which reads a part of each target; null for others. */
  days: Type.Union([CycleDays, Type.Null()]),
  /** When it may begin what is due; null for at any time. */
  hours: Type.Union([WorkHours, Type.Null()]),
  /** Something is due that may not begin before. */
  waitsUntil: Type.Union([Instant, Type.Null()]),
});
export type Schedule = Static<typeof Schedule>;
export const ScheduleChange = Type.Object({
  cron: Type.String({ minLength: 9, maxLength: 100 }),
  enabled: Type.Boolean(),
  /** Of a restore test; as it was when it is left out. */
  copy: Type.Optional(ScheduledCopy),
  /** Of `verify`; as it was when it is left out. */
  days: Type.Optional(CycleDays),
  /** As they were when left out; null for at any time. Not of the drill. */
  hours: Type.Optional(Type.Union([WorkHours, Type.Null()])),
});

/** What may be done with a snapshot in which state; the server enforces it, the UI says why not. */
export const snapshotCan: Record<
  SnapshotState,
  { browse: boolean; restore: boolean; test: boolean; forget: boolean }
> = {
  stored: { browse: true, restore: true, test: true, forget: true },
  partial: { browse: true, restore: true, test: true, forget: true },
  forgotten: { browse: false, restore: false, test: false, forget: false },
};
