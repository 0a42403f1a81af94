/** Shapes of restore tests and their reports. */
import { Type, type Static } from 'typebox';
import { Cursor, Id, Instant } from '../lib/shapes.ts';

/** Of a test that restores the data. */
export const DataTestMode = Type.Union([Type.Literal('quick'), Type.Literal('full')]);
export type DataTestMode = Static<typeof DataTestMode>;
/** `system`: what a machine needs besides its data. */
export const RestoreTestMode = Type.Union([...DataTestMode.anyOf, Type.Literal('system')]);
export type RestoreTestMode = Static<typeof RestoreTestMode>;
export const KeySource = Type.Union([Type.Literal('test-identity'), Type.Literal('recovery-kit')]);
export type KeySource = Static<typeof KeySource>;
export const Grade = Type.Union([Type.Literal('data-proven'), Type.Literal('kit-proven')]);
export type Grade = Static<typeof Grade>;
export const RestoreTestState = Type.Union([
  Type.Literal('running'),
  Type.Literal('passed'),
  /** A test of scope `system` that passed: it proves nothing of the data. */
  Type.Literal('checked'),
  Type.Literal('failed'),
  Type.Literal('cancelled'),
  Type.Literal('needs-kit'),
]);
export type RestoreTestState = Static<typeof RestoreTestState>;

/** What a browser opens with the kit: the keys object, and the age headers of the newest keyring (a base, at most one addition). */
export const KitMaterial = Type.Object({
  repositoryId: Type.String(),
  trustRoot: Type.String({ description: 'Base64; must equal the one in the kit' }),
  keysObjectName: Type.String(),
  keysObject: Type.String({ description: 'Base64 of the age file: the newest generation' }),
  /** Base64; those of generations before. */
  olderKeysObjects: Type.Array(Type.String()),
  keyring: Type.Array(
    Type.Object({
      name: Type.String(),
      header: Type.String({ description: 'Base64 of the age header' }),
    }),
  ),
});
export type KitMaterial = Static<typeof KitMaterial>;

/** What the kit opened: it opens this repository's packs and this keyring, and nothing that comes later. */
export const LentKeys = Type.Object({
  kitId: Id,
  /** Base64 of the decrypted keys object: signed by the trust root, with the repository's age identity in it. */
  keys: Type.String({ minLength: 1, maxLength: 32_768 }),
  /** The same of generations before; a test of a snapshot that was written then needs them. */
  olderKeys: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 32_768 }), { maxItems: 32 })),
  /** Base64, 16 bytes each: file keys of the keyring objects. */
  keyringFileKeys: Type.Array(
    Type.Object({ name: Type.String({ maxLength: 200 }), fileKey: Type.String({ maxLength: 64 }) }),
    { minItems: 1, maxItems: 4 },
  ),
});
export type LentKeys = Static<typeof LentKeys>;

export const CopyChoice = Type.Object({
  /** `latest`: the newest, of a target or of all. `random`: drawn by the server among all that are kept, each with the same chance. */
  choice: Type.Union([Type.Literal('latest'), Type.Literal('certain'), Type.Literal('random')], {
    default: 'certain',
  }),
  /** With `certain`, and only then. */
  snapshotId: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
  /** Needed with `certain` and with a kit. */
  targetId: Type.Optional(Id),
  /** With `latest`, without a target: the newest of each, one after the other, a report each. */
  everyTarget: Type.Optional(Type.Boolean()),
});
export type CopyChoice = Static<typeof CopyChoice>;

export const StartRestoreTest = Type.Object({
  ...CopyChoice.properties,
  choice: Type.Optional(CopyChoice.properties.choice),
  mode: RestoreTestMode,
  keySource: KeySource,
  /** With `recovery-kit` only: lent for this run, kept in memory, never written. */
  lent: Type.Optional(LentKeys),
});
export type StartRestoreTest = Static<typeof StartRestoreTest>;

/** A chosen moment: the snapshot before it is found, and the log is followed from there. */
export const StartPointTest = Type.Object({
  targetId: Id,
  /** One of the two: an instant with its zone, or a position in the write-ahead log. */
  time: Type.Optional(Type.String({ maxLength: 40 })),
  lsn: Type.Optional(Type.String({ maxLength: 17 })),
  mode: DataTestMode,
  /** What the recovery kit opened on that target; without it the test identity opens the copy. */
  lent: Type.Optional(LentKeys),
});
export type StartPointTest = Static<typeof StartPointTest>;

/** Before starting: what it needs and what there is. */
export const Preflight = Type.Object({
  ok: Type.Boolean(),
  needsBytes: Type.Number(),
  freeBytes: Type.Number(),
  /** So much of the volume stays free whatever is tested. */
  keptFreeBytes: Type.Number(),
  /** Where a test unpacks. */
  place: Type.String(),
  /** What the last tests of that scope took; null when there was none. */
  estimateMs: Type.Union([Type.Number(), Type.Null()]),
  estimatedFrom: Type.Integer(),
  checks: Type.Array(
    Type.Object({
      name: Type.String(),
      state: Type.Union([Type.Literal('ok'), Type.Literal('warn'), Type.Literal('bad')]),
      message: Type.String(),
    }),
  ),
});
export type Preflight = Static<typeof Preflight>;

export const CheckResult = Type.Object({
  id: Type.String(),
  label: Type.String(),
  /** `warned`: passed, with something that people should know, such as a missed objective. */
  state: Type.Union([
    Type.Literal('passed'),
    Type.Literal('warned'),
    Type.Literal('failed'),
    Type.Literal('skipped'),
  ]),
  expected: Type.String(),
  found: Type.String(),
  durationMs: Type.Number(),
  /** Of an assertion: which version was asked, and its statement by its hash (hex). */
  assertion: Type.Optional(Type.Object({ id: Id, version: Type.Integer(), sqlSha256: Type.String() })),
});
export type CheckResult = Static<typeof CheckResult>;

export const RestoreTest = Type.Object({
  id: Id,
  runId: Id,
  snapshotId: Type.String(),
  snapshotTakenAt: Instant,
  choice: CopyChoice.properties.choice,
  drawnFrom: Type.Union([Type.Integer(), Type.Null()]),
  /** Whether no newer one lay on the same target; null for tests from before it was noted. */
  newest: Type.Union([Type.Boolean(), Type.Null()]),
  /** The yearly drill. */
  drill: Type.Boolean(),
  targetId: Id,
  targetName: Type.String(),
  mode: RestoreTestMode,
  keySource: KeySource,
  kitId: Type.Union([Id, Type.Null()]),
  state: RestoreTestState,
  grade: Type.Union([Grade, Type.Null()]),
  createdAt: Instant,
  finishedAt: Type.Union([Instant, Type.Null()]),
  rtoMs: Type.Union([Type.Number(), Type.Null()]),
  /** From the report: `extrapolated` where only a sample of the files was read. */
  rtoBasis: Type.Union([Type.Literal('measured'), Type.Literal('extrapolated'), Type.Null()]),
  rpoMs: Type.Union([Type.Number(), Type.Null()]),
  /** As they were when it ran. */
  rtoObjectiveMs: Type.Union([Type.Number(), Type.Null()]),
  rpoObjectiveMs: Type.Union([Type.Number(), Type.Null()]),
  /** From the report; absent while it runs. */
  checks: Type.Array(CheckResult),
  reportSha256: Type.Union([Type.String(), Type.Null()]),
  /** Of a test of a chosen moment: what was asked for, and the last commit that was there. */
  point: Type.Union([
    Type.Object({
      time: Type.Union([Instant, Type.Null()]),
      lsn: Type.Union([Type.String(), Type.Null()]),
      reachedAt: Type.Union([Instant, Type.Null()]),
    }),
    Type.Null(),
  ]),
});
export type RestoreTest = Static<typeof RestoreTest>;

export const TestScheduleState = Type.Object({
  name: Type.String(),
  nextDueAt: Type.Union([Instant, Type.Null()]),
  lastPassedAt: Type.Union([Instant, Type.Null()]),
  overdue: Type.Boolean(),
  /** Due, and waiting for somebody with a recovery kit. */
  waitsForKit: Type.Boolean(),
  /** Since when it is missing, once that is so long that owners have to know; null before, and of drills. */
  escalatedSince: Type.Union([Instant, Type.Null()]),
  /** Why one that is due has not begun, when its hours keep it. */
  waits: Type.Union([Type.String(), Type.Null()]),
});
export type TestScheduleState = Static<typeof TestScheduleState>;

export const RestoreTestPage = Type.Object({
  items: Type.Array(RestoreTest),
  total: Type.Integer(),
  nextCursor: Type.Union([Cursor, Type.Null()]),
  /** When one is due next, and whether the last due one did not happen. */
  nextDueAt: Type.Union([Instant, Type.Null()]),
  overdue: Type.Boolean(),
  /** Every schedule of tests that is on. */
  schedules: Type.Array(TestScheduleState),
});
export type RestoreTestPage = Static<typeof RestoreTestPage>;
export const RestoreTestQuery = Type.Object({
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
});

/** `null`: no objective. Not a union: 0 would be taken for null. */
const ObjectiveMinutes = Type.Unsafe<number | null>({
  type: ['integer', 'null'],
  minimum: 1,
  maximum: 43_200,
});
export const RestoreTestSettings = Type.Object({
  /** A restore is to take no longer (RTO). */
  rtoMinutes: ObjectiveMinutes,
  /** No more than this is to be lost (RPO). */
  rpoMinutes: ObjectiveMinutes,
  /** An assertion that takes longer is ended, and has failed. */
  assertionSeconds: Type.Integer({ minimum: 1, maximum: 60 }),
});
export type RestoreTestSettings = Static<typeof RestoreTestSettings>;
