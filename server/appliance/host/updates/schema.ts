/** Shapes of updates: what a bundle is, which states an update goes through, and what a boot came to. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../../lib/shapes.ts';
import { HostActor } from '../schema.ts';

/** The two places for a system. The boot loader's names. */
export const SlotName = Type.Union([Type.Literal('A'), Type.Literal('B')]);
export type SlotName = Static<typeof SlotName>;

/** A file that was looked at: signed by a key that this image knows, and meant for this product. */
export const Bundle = Type.Object({
  /** Lower-case hex SHA-256 of the file. */
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  version: Type.String(),
  compatible: Type.String(),
  /** Oldest version from which this one may be installed directly; null: any. */
  from: Type.Union([Type.String(), Type.Null()]),
  build: Type.Union([Type.String(), Type.Null()]),
  /** Names of the certificates that signed it, as the engine says them. */
  signedBy: Type.Union([Type.String(), Type.Null()]),
  sizeBytes: Type.Number(),
  receivedAt: Instant,
  /** `upload`, `url` or `disk`. */
  source: Type.Union([Type.Literal('upload'), Type.Literal('url'), Type.Literal('disk')]),
});
export type Bundle = Static<typeof Bundle>;

/** A bundle, and whether it may be installed now; if not, why. */
export const CheckedBundle = Type.Intersect([
  Bundle,
  Type.Object({
    installable: Type.Boolean(),
    reason: Type.Union([Type.String(), Type.Null()]),
  }),
]);
export type CheckedBundle = Static<typeof CheckedBundle>;

export const UpdateState = Type.Union([
  Type.Literal('rehearsing'),
  Type.Literal('snapshot'),
  Type.Literal('installing'),
  Type.Literal('ready'),
  Type.Literal('rebooting'),
  Type.Literal('confirmed'),
  Type.Literal('fell-back'),
  Type.Literal('refused'),
  Type.Literal('failed'),
  Type.Literal('cancelled'),
]);
export type UpdateState = Static<typeof UpdateState>;

/** `now`: as soon as it is installed. `window`: at the next time of the maintenance window. `manual`: when a person says. */
export const RestartWhen = Type.Union([Type.Literal('now'), Type.Literal('window'), Type.Literal('manual')]);
export type RestartWhen = Static<typeof RestartWhen>;

/** Days (0 is Sunday) and hours, UTC, in which the appliance may restart by itself. */
export const MaintenanceWindow = Type.Object({
  days: Type.Array(Type.Integer({ minimum: 0, maximum: 6 }), { minItems: 1, maxItems: 7 }),
  startHour: Type.Integer({ minimum: 0, maximum: 23 }),
  hours: Type.Integer({ minimum: 1, maximum: 24 }),
});
export type MaintenanceWindow = Static<typeof MaintenanceWindow>;

/** What the rehearsal on a restored copy found. */
export const RehearsalReport = Type.Object({
  runId: Id,
  snapshotId: Type.String(),
  applied: Type.Array(Type.String(), { maxItems: 1000 }),
  durationMs: Type.Number(),
  tables: Type.Integer(),
  rowsBefore: Type.String(),
  rowsAfter: Type.String(),
  notes: Type.Array(Type.String(), { maxItems: 100 }),
});
export type RehearsalReport = Static<typeof RehearsalReport>;

export const Update = Type.Object({
  id: Id,
  /** `way-back` goes to the system in the other slot; data written since stay. */
  kind: Type.Union([Type.Literal('update'), Type.Literal('way-back')]),
  state: UpdateState,
  /** Null for a way back: nothing is installed. */
  bundle: Type.Union([Bundle, Type.Null()]),
  version: Type.String(),
  fromVersion: Type.String(),
  fromSlot: SlotName,
  toSlot: SlotName,
  restart: RestartWhen,
  requestedAt: Instant,
  requestedBy: HostActor,
  /** Set when a person decided to do without rehearsal and safety snapshot. */
  skipReason: Type.Union([Type.String(), Type.Null()]),
  rehearsal: Type.Union([RehearsalReport, Type.Null()]),
  safetySnapshotId: Type.Union([Type.String(), Type.Null()]),
  installAttempts: Type.Integer(),
  /** Percent, while installing. */
  progress: Type.Integer(),
  /** When the appliance restarts by itself; null: a person does it. */
  rebootAt: Type.Union([Instant, Type.Null()]),
  /** Boot in which the restart was made: while it lasts, the restart has not happened. */
  rebootedFrom: Type.Union([Type.String(), Type.Null()]),
  endedAt: Type.Union([Instant, Type.Null()]),
  /** How it ended or what it waits for, one sentence. */
  message: Type.Union([Type.String(), Type.Null()]),
});
export type Update = Static<typeof Update>;

/** What came of one start of the machine. */
export const BootRecord = Type.Object({
  slot: SlotName,
  version: Type.String(),
  /** The kernel's id of this boot. */
  bootId: Type.String(),
  startedAt: Instant,
  outcome: Type.Union([Type.Literal('waiting'), Type.Literal('good'), Type.Literal('unhealthy')]),
  message: Type.Union([Type.String(), Type.Null()]),
});
export type BootRecord = Static<typeof BootRecord>;

export const Slot = Type.Object({
  name: SlotName,
  booted: Type.Boolean(),
  /** The boot loader takes it next. */
  primary: Type.Boolean(),
  good: Type.Boolean(),
  /** Of what was installed there; null where the first image came with it. */
  version: Type.Union([Type.String(), Type.Null()]),
  installedAt: Type.Union([Type.String(), Type.Null()]),
});
export type Slot = Static<typeof Slot>;

/** Everything about updates in one document. */
export const UpdateOverview = Type.Object({
  version: Type.String(),
  slots: Type.Array(Slot),
  window: Type.Union([MaintenanceWindow, Type.Null()]),
  bundles: Type.Array(CheckedBundle),
  /** The one under way. */
  current: Type.Union([Update, Type.Null()]),
  /** Version in the other slot that a way back would start; null when there is none. */
  wayBack: Type.Union([Type.Object({ version: Type.String(), slot: SlotName }), Type.Null()]),
  history: Type.Array(Update),
  lastBoot: Type.Union([BootRecord, Type.Null()]),
});
export type UpdateOverview = Static<typeof UpdateOverview>;

export const CurrentUpdate = Type.Object({ current: Type.Union([Update, Type.Null()]) });
export type CurrentUpdate = Static<typeof CurrentUpdate>;

export const InstallRequest = Type.Object({
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  restart: RestartWhen,
  skipReason: Type.Optional(Type.String({ minLength: 10, maxLength: 500 })),
  actor: HostActor,
});
export type InstallRequest = Static<typeof InstallRequest>;

/** How the server tells what came of a part that it carried out. */
export const AdvanceRequest = Type.Union([
  Type.Object({ step: Type.Literal('rehearsed'), report: RehearsalReport }),
  Type.Object({ step: Type.Literal('saved'), snapshotId: Type.String({ maxLength: 64 }) }),
  Type.Object({ step: Type.Literal('refused'), message: Type.String({ maxLength: 1000 }) }),
]);
export type AdvanceRequest = Static<typeof AdvanceRequest>;

export const RestartRequest = Type.Object({ restart: RestartWhen, actor: HostActor });
export const WayBackRequest = Type.Object({ restart: RestartWhen, actor: HostActor });

/** How far an upload that may go on later has come. */
export const PartialBundle = Type.Object({
  offset: Type.Number(),
  /** What the sender called this content; another one starts over. */
  tag: Type.Union([Type.String(), Type.Null()]),
});
export type PartialBundle = Static<typeof PartialBundle>;

export const UploadQuery = Type.Object({
  /** Of the sender's choosing: the same one goes on where it stopped. */
  key: Type.String({ pattern: '^[0-9a-f]{32,64}$' }),
  offset: Type.String({ pattern: '^[0-9]{1,12}$' }),
  /** Bytes of the whole bundle. */
  total: Type.String({ pattern: '^[1-9][0-9]{0,11}$' }),
  tag: Type.Optional(Type.String({ maxLength: 256 })),
  source: Type.Union([Type.Literal('upload'), Type.Literal('url')]),
});
export type UploadQuery = Static<typeof UploadQuery>;

/** A file that is to come in pieces. */
export const BeginUploadRequest = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 255 }),
  sizeBytes: Type.Integer({ minimum: 1 }),
  /** Of the sender's making, equal for equal files: lower-case hex SHA-256 over the first and the last MiB. */
  fingerprint: Type.String({ pattern: '^[0-9a-f]{64}$' }),
});
export type BeginUploadRequest = Static<typeof BeginUploadRequest>;

/** The upload under way. */
export const BundleUpload = Type.Intersect([
  BeginUploadRequest,
  Type.Object({
    id: Id,
    /** Bytes that are here and survive a power cut; the next piece begins there. */
    offset: Type.Integer(),
    startedAt: Instant,
    /** It is discarded then, unless another piece comes before. */
    expiresAt: Instant,
  }),
]);
export type BundleUpload = Static<typeof BundleUpload>;

export const CurrentUpload = Type.Object({ upload: Type.Union([BundleUpload, Type.Null()]) });
export type CurrentUpload = Static<typeof CurrentUpload>;

/** As in the drafts for resumable uploads: where the piece in the body begins. */
export const PieceHeaders = Type.Object({ 'upload-offset': Type.String({ pattern: '^[0-9]{1,12}$' }) });

/** What a piece came to; `bundle` once the file is whole and was found good. */
export const PieceTaken = Type.Object({
  upload: BundleUpload,
  bundle: Type.Union([CheckedBundle, Type.Null()]),
});
export type PieceTaken = Static<typeof PieceTaken>;

/** What the search of the folder for bundles from elsewhere found. */
export const FoundBundles = Type.Object({
  items: Type.Array(CheckedBundle),
  refused: Type.Array(Type.Object({ name: Type.String(), reason: Type.String() })),
});
export type FoundBundles = Static<typeof FoundBundles>;
