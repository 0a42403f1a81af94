/** Shapes of first run, appliance settings, recovery kits and the overview. */
import { Type, type Static } from 'typebox';
import { Id, Instant, Problem } from '../lib/shapes.ts';
import { MeasuredLoss } from '../backups/index.ts';
import { Run } from '../lib/run-schema.ts';
import { Email, Password, PersonName } from '../identity/index.ts';
import { KitSummary } from './kits/schema.ts';

export const Stage = Type.Union([
  Type.Literal('production'),
  Type.Literal('staging'),
  Type.Literal('development'),
]);
export const Region = Type.String({ minLength: 2, maxLength: 64, pattern: '^[A-Za-z0-9][A-Za-z0-9 ._-]*$' });

/** Public: a browser asks this before anything else. Steps are told to signed-in administrators only. */
export const SetupState = Type.Object({
  claimed: Type.Boolean(),
  /** First run is over: every step up to the schedule is done. */
  complete: Type.Boolean(),
  applianceName: Type.Union([Type.String(), Type.Null()]),
  stage: Stage,
  steps: Type.Optional(
    Type.Object({
      appliance: Type.Boolean(),
      kit: Type.Boolean(),
      target: Type.Boolean(),
      schedule: Type.Boolean(),
      snapshot: Type.Boolean(),
      restoreTest: Type.Boolean(),
    }),
  ),
  /** On the machine image only. */
  machine: Type.Optional(
    Type.Object({
      /** The data volume wants `POST /host/claim-volume` before a kit can be proven. */
      volumeUnclaimed: Type.Boolean(),
      /** A TPM can be its way for every day. */
      tpm: Type.Boolean(),
      region: Type.Union([Type.String(), Type.Null()]),
      regionKnownBy: Type.Union([
        Type.Literal('metadata'),
        Type.Literal('image'),
        Type.Literal('declared'),
        Type.Null(),
      ]),
    }),
  ),
});
export type SetupState = Static<typeof SetupState>;

export const ClaimCode = Type.String({ minLength: 4, maxLength: 64 });
export const ClaimCodeRequest = Type.Object({ code: ClaimCode });
export const ClaimRequest = Type.Object({
  code: ClaimCode,
  owner: Type.Object({ name: PersonName, email: Email, password: Password }),
});
export type ClaimRequest = Static<typeof ClaimRequest>;

export const ApplianceSettings = Type.Object({
  id: Id,
  name: Type.Union([Type.String(), Type.Null()]),
  stage: Stage,
  region: Type.Union([Type.String(), Type.Null()]),
  regionKnownBy: Type.Union([
    Type.Literal('metadata'),
    Type.Literal('image'),
    Type.Literal('declared'),
    Type.Null(),
  ]),
  allowedRegions: Type.Array(Type.String()),
  version: Type.String({ description: 'Row version, for optimistic concurrency' }),
  softwareVersion: Type.String(),
});
export type ApplianceSettings = Static<typeof ApplianceSettings>;

export const ApplianceSettingsChange = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 100 }),
  stage: Stage,
  region: Region,
  allowedRegions: Type.Array(Region, { minItems: 1, maxItems: 50 }),
});
export type ApplianceSettingsChange = Static<typeof ApplianceSettingsChange>;

/** A kit is made in the browser; the appliance gets the recipient and never the identity. */
export const BeginKitRequest = Type.Object({
  recipient: Type.String({ pattern: '^age1[a-z0-9]{20,2100}$' }),
});
export const BeginKitReply = Type.Object({
  kitId: Id,
  /** Everything of the kit except the age identity, which only the browser knows. */
  repositoryId: Type.String(),
  trustRoot: Type.String({ description: 'Base64, 32 bytes, Ed25519 public key' }),
  applianceName: Type.String(),
  createdAt: Instant,
  volumeRecoveryKey: Type.Union([Type.String(), Type.Null()]),
  /** Base64 of an age file for the recipient; its plaintext is the proof. */
  challenge: Type.String(),
});
export type BeginKitReply = Static<typeof BeginKitReply>;
export const KeepSealedKitRequest = Type.Object({
  sealed: Type.String({
    contentEncoding: 'base64',
    pattern: '^[A-Za-z0-9+/]+={0,2}$',
    maxLength: 65_536,
    description: 'Base64 of the kit as age encrypted it to the operator',
  }),
});
export const ProveKitRequest = Type.Object({
  response: Type.String({ maxLength: 200, description: 'Hex SHA-256 of the opened challenge' }),
});

export const RetireKitRequest = Type.Object({
  reason: Type.String({ minLength: 1, maxLength: 500, pattern: '\\S' }),
});

export const RecoveryKit = Type.Object({
  id: Id,
  recipient: Type.String(),
  state: Type.Union([Type.Literal('unproven'), Type.Literal('proven')]),
  createdAt: Instant,
  provenAt: Type.Union([Instant, Type.Null()]),
  /** A copy, sealed to the key of the operator who made it by file, waits to be fetched. */
  sealedCopy: Type.Boolean(),
});
export type RecoveryKit = Static<typeof RecoveryKit>;
export const RecoveryKits = Type.Object({
  items: Type.Array(RecoveryKit),
  repository: Type.Object({
    /** Null until the first kit is begun. */
    repositoryId: Type.Union([Type.String(), Type.Null()]),
    trustRoot: Type.Union([
      Type.String({
        description: 'Base64, 32 bytes, Ed25519 public key: with it anyone verifies reports offline',
      }),
      Type.Null(),
    ]),
    generation: Type.Integer(),
    /** True when the appliance keeps no key that opens its backups. */
    writeOnly: Type.Boolean(),
    /** Names of targets that wait to be given the keys as they are now. */
    targetsBehind: Type.Array(Type.String()),
  }),
});
export type RecoveryKits = Static<typeof RecoveryKits>;

export const HealthCheck = Type.Object({
  name: Type.String(),
  state: Type.Union([Type.Literal('ok'), Type.Literal('warn'), Type.Literal('bad')]),
  message: Type.String(),
  hint: Type.Optional(Type.String()),
});
export type HealthCheck = Static<typeof HealthCheck>;

/** "Are we safe?" in one document. */
export const Overview = Type.Object({
  verdict: Type.Union([
    Type.Literal('proven'),
    Type.Literal('stored'),
    Type.Literal('damaged'),
    Type.Literal('local-only'),
    Type.Literal('overdue'),
    Type.Literal('unprotected'),
  ]),
  /** One sentence each: what that means, and what to do. */
  sentences: Type.Array(Type.String()),
  lastSnapshot: Type.Union([
    Type.Object({ id: Type.String(), takenAt: Instant, state: Type.String(), sizeBytes: Type.Number() }),
    Type.Null(),
  ]),
  lastProven: Type.Union([
    Type.Object({
      restoreTestId: Id,
      snapshotId: Type.String(),
      at: Instant,
      grade: Type.String(),
      targetName: Type.String(),
      keySource: Type.String(),
      rtoMs: Type.Number(),
      rpoMs: Type.Union([Type.Number(), Type.Null()]),
      rtoObjectiveMs: Type.Union([Type.Number(), Type.Null()]),
      rpoObjectiveMs: Type.Union([Type.Number(), Type.Null()]),
    }),
    Type.Null(),
  ]),
  /** Always told, also that it is not measured. */
  loss: MeasuredLoss,
  targets: Type.Array(
    Type.Object({
      id: Id,
      name: Type.String(),
      location: Type.String(),
      sameDisk: Type.Boolean(),
      lastOkAt: Type.Union([Instant, Type.Null()]),
      lastError: Type.Union([Problem, Type.Null()]),
      snapshotCount: Type.Integer(),
      storedBytes: Type.Number(),
      freeBytes: Type.Union([Type.Number(), Type.Null()]),
      provenAt: Type.Union([Instant, Type.Null()]),
    }),
  ),
  nextSnapshotAt: Type.Union([Instant, Type.Null()]),
  nextRestoreTestAt: Type.Union([Instant, Type.Null()]),
  restoreTestOverdue: Type.Boolean(),
  snapshotOverdue: Type.Boolean(),
  dataDisk: Type.Object({ freeBytes: Type.Number(), totalBytes: Type.Number() }),
  protects: Type.Object({ fileCount: Type.Integer(), sizeBytes: Type.Number() }),
  kits: KitSummary,
  needsYou: Type.Array(HealthCheck),
  activeRuns: Type.Array(Run),
  /** One entry a day, newest last, up to 365. */
  coverage: Type.Array(
    Type.Object({
      day: Type.String({ description: 'YYYY-MM-DD, UTC' }),
      state: Type.Union([
        Type.Literal('proven'),
        Type.Literal('stored'),
        Type.Literal('partial'),
        Type.Literal('failed'),
        Type.Literal('none'),
      ]),
    }),
  ),
});
export type Overview = Static<typeof Overview>;
