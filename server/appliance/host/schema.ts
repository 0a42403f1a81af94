/** Shapes of what hostd is asked and answers. Routes of other parts add theirs in files of their own and take `HostActor` from here. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';

const strict = { additionalProperties: false };
const orNull = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

/** Who wants an act done; as `Actor` of the audit log, without what only a request has. */
export const HostActor = Type.Object(
  {
    kind: Type.Union([Type.Literal('user'), Type.Literal('system'), Type.Literal('console')]),
    id: Type.Optional(Id),
    label: Type.Optional(Type.String({ maxLength: 64 })),
    address: Type.Optional(Type.String({ maxLength: 64 })),
  },
  strict,
);
export type HostActor = Static<typeof HostActor>;

/** One line of /state/journal.jsonl. */
export const HostAct = Type.Object({
  id: Id,
  at: Instant,
  actor: HostActor,
  action: Type.String({ pattern: '^[a-z][a-z-]*(\\.[a-z][a-z-]*){2,3}$', maxLength: 100 }),
  objectType: Type.String({ minLength: 1, maxLength: 64 }),
  objectId: orNull(Type.String({ maxLength: 200 })),
  result: Type.Union([Type.Literal('done'), Type.Literal('refused'), Type.Literal('failed')]),
  detail: Type.Record(Type.String(), Type.Unknown()),
});
export type HostAct = Static<typeof HostAct>;

export const WayKind = Type.Union([
  Type.Literal('passphrase'),
  Type.Literal('recovery-key'),
  Type.Literal('tpm2'),
  Type.Literal('kms-hook'),
]);
export type WayKind = Static<typeof WayKind>;

/** A way as people may see it: without anything wrapped or sealed. */
export const UnlockWay = Type.Object({
  id: Id,
  kind: WayKind,
  label: Type.String(),
  keyslot: Type.Integer(),
  /** Of a TPM: the registers whose change closes the way. */
  pcrs: Type.Optional(Type.String()),
  createdAt: Instant,
  lastUsedAt: orNull(Instant),
  lastTestedAt: orNull(Instant),
});
export type UnlockWay = Static<typeof UnlockWay>;

export const HostDisk = Type.Object({
  path: Type.String(),
  model: orNull(Type.String()),
  serial: orNull(Type.String()),
  sizeBytes: Type.Number(),
  usedFor: Type.Union([Type.Literal('system'), Type.Literal('data'), Type.Literal('other')]),
});
export type HostDisk = Static<typeof HostDisk>;

export const VolumeFacts = Type.Object({
  /** `unclaimed`: open with a key that lives only in memory; a restart empties it. `none`: this machine has no such volume. */
  state: Type.Union([Type.Literal('open'), Type.Literal('unclaimed'), Type.Literal('none')]),
  uuid: orNull(Id),
  device: orNull(Type.String()),
  sizeBytes: Type.Number(),
  freeBytes: Type.Number(),
  /** Key slots in the volume's header that no way of ours names. */
  unknownKeyslots: Type.Array(Type.Integer()),
  /** Ways whose key slot is missing in the header: the disk is an older copy of itself. */
  lostWays: Type.Array(Id),
});
export type VolumeFacts = Static<typeof VolumeFacts>;

export const RegionKnowledge = Type.Object({
  name: orNull(Type.String()),
  knownBy: orNull(Type.Union([Type.Literal('metadata'), Type.Literal('image'), Type.Literal('declared')])),
  allowedRegions: orNull(Type.Array(Type.String())),
});
export type RegionKnowledge = Static<typeof RegionKnowledge>;

/** The machine in one document. */
export const HostState = Type.Object({
  image: Type.Object({
    version: Type.String(),
    builtAt: orNull(Type.String()),
    gitCommit: orNull(Type.String()),
    slot: orNull(Type.Union([Type.Literal('A'), Type.Literal('B')])),
  }),
  hostName: Type.String(),
  uptimeSeconds: Type.Integer(),
  disks: Type.Array(HostDisk),
  volume: VolumeFacts,
  ways: Type.Array(UnlockWay),
  /** Whether this machine has a TPM 2.0 that can hold a way. */
  tpm: Type.Boolean(),
  region: RegionKnowledge,
  time: Type.Object({
    now: Instant,
    /** Null when no time service says. */
    synchronized: orNull(Type.Boolean()),
  }),
});
export type HostState = Static<typeof HostState>;

/** As a person types it: a passphrase, or a recovery key with or without its dashes. */
export const Secret = Type.String({ minLength: 1, maxLength: 512, pattern: '^[^\\r\\n\\u0000]+$' });
export const NewPassphrase = Type.String({ minLength: 12, maxLength: 512, pattern: '^[^\\r\\n\\u0000]+$' });
const Label = Type.String({ minLength: 1, maxLength: 100, pattern: '^[^\\u0000-\\u001f\\u007f]+$' });
const RecoveryKeyText = Type.String({ minLength: 52, maxLength: 100 });

/**
 * Registers of the TPM whose change closes a way: 7 Secure Boot's state and certificates, 0 and 2 the firmware and its drivers, 4 the
 * boot loader. Those of kernel and command line change with every update of the appliance. @see TCG PC Client Platform Firmware Profile
 */
export const TpmPcrs = Type.Union([Type.Literal('7'), Type.Literal('0+2+7'), Type.Literal('0+2+4+7')]);
export type TpmPcrs = Static<typeof TpmPcrs>;

/** What a new way is made of. */
export const NewWay = Type.Union([
  Type.Object({ kind: Type.Literal('passphrase'), label: Label, secret: NewPassphrase }, strict),
  Type.Object({ kind: Type.Literal('recovery-key'), label: Label, secret: RecoveryKeyText }, strict),
  Type.Object({ kind: Type.Literal('tpm2'), label: Label, pcrs: Type.Optional(TpmPcrs) }, strict),
  Type.Object({ kind: Type.Literal('kms-hook'), label: Label }, strict),
]);
export type NewWay = Static<typeof NewWay>;

export const AddWayRequest = Type.Object(
  {
    actor: HostActor,
    way: NewWay,
    /** The secret of a way that exists. Left out, the TPM or the hook of this machine must open the volume. */
    openedBy: Type.Optional(Secret),
  },
  strict,
);
export type AddWayRequest = Static<typeof AddWayRequest>;

export const ActorRequest = Type.Object({ actor: HostActor }, strict);
export const RenameWayRequest = Type.Object({ actor: HostActor, label: Label }, strict);
export const TestWayRequest = Type.Object({ actor: HostActor, secret: Type.Optional(Secret) }, strict);
export type TestWayRequest = Static<typeof TestWayRequest>;

export const ClaimVolumeRequest = Type.Object(
  { actor: HostActor, recoveryKey: RecoveryKeyText, daily: NewWay },
  strict,
);
export type ClaimVolumeRequest = Static<typeof ClaimVolumeRequest>;

export const PowerRequest = Type.Object(
  { actor: HostActor, action: Type.Union([Type.Literal('restart'), Type.Literal('shutdown')]) },
  strict,
);
export type PowerRequest = Static<typeof PowerRequest>;

export const GrowVolumeRequest = Type.Object({ actor: HostActor, openedBy: Type.Optional(Secret) }, strict);
export type GrowVolumeRequest = Static<typeof GrowVolumeRequest>;
