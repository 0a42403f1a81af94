/** Shapes of a set-back as the owner sees and asks for it. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';
import { LookAnswer } from '../host/recovery/schema.ts';
import { Reason, StartSetBackRequest } from '../host/set-back/schema.ts';

const strict = { additionalProperties: false };
const { snapshot, kit } = StartSetBackRequest.properties;
/** The appliance's own name, typed by whoever confirms. */
const ConfirmedName = Type.String({ minLength: 1, maxLength: 200 });

export const SnapshotQuery = Type.Object({ snapshot }, strict);
export const CheckSetBackBody = Type.Object({ snapshot, kit }, strict);
export const StartSetBackBody = Type.Object(
  {
    ...{ snapshot, kit },
    reason: Reason,
    name: ConfirmedName,
    acceptWarnings: Type.Optional(Type.Boolean()),
  },
  strict,
);
export type StartSetBackBody = Static<typeof StartSetBackBody>;
export const UndoSetBackBody = Type.Object({ reason: Reason, name: ConfirmedName }, strict);
export type UndoSetBackBody = Static<typeof UndoSetBackBody>;
export const DiscardSetBackBody = Type.Object({ name: ConfirmedName }, strict);

/** What was written since an instant, as far as the live database says. */
export const WrittenSince = Type.Object({
  since: Instant,
  /** File versions: new files, and new content of old ones. */
  files: Type.Integer(),
  bytes: Type.Number(),
  /** Files and folders that were deleted. */
  deletions: Type.Integer(),
  /** Accounts of people that were made. */
  people: Type.Integer(),
  /** Entries of the audit log. */
  acts: Type.Integer(),
});
export type WrittenSince = Static<typeof WrittenSince>;

const Barrier = Type.Object({ message: Type.String(), hint: Type.Optional(Type.String()) });

export const SetBackPlan = Type.Object({
  applianceName: Type.String(),
  snapshot: Type.Object({
    id: Type.String(),
    number: Type.Integer(),
    takenAt: Instant,
    sizeBytes: Type.Number(),
  }),
  /** Where it is read from. */
  target: Type.Object({ id: Id, name: Type.String() }),
  /** The page tries a kit on it before the kit leaves the browser. */
  found: Type.Pick(LookAnswer, ['repositoryId', 'keysObjects']),
  /** Goes out of use. */
  lost: WrittenSince,
  /** Why it cannot be now. */
  barrier: Type.Union([Barrier, Type.Null()]),
});
export type SetBackPlan = Static<typeof SetBackPlan>;

export const UndoPlan = Type.Object({
  applianceName: Type.String(),
  lost: WrittenSince,
  barrier: Type.Union([Barrier, Type.Null()]),
});
export type UndoPlan = Static<typeof UndoPlan>;
