/** Storage from elsewhere: NFS and SMB shares and a second disk, mounted for backups. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../../lib/shapes.ts';
import { HostActor } from '../schema.ts';

const strict = { additionalProperties: false };
/** No space, comma, percent sign or quote: these have a meaning in units and options of mounts. */
const Server = Type.String({ pattern: '^([A-Za-z0-9][A-Za-z0-9.-]{0,252}|\\[[0-9A-Fa-f:]{2,45}\\])$' });
const Label = Type.String({ minLength: 1, maxLength: 100, pattern: '^[^\\u0000-\\u001f\\u007f]+$' });

export const NfsShare = Type.Object(
  {
    kind: Type.Literal('nfs'),
    server: Server,
    export: Type.String({ pattern: '^/[A-Za-z0-9._/@+-]{0,500}$' }),
  },
  strict,
);
export const SmbShare = Type.Object(
  {
    kind: Type.Literal('smb'),
    server: Server,
    share: Type.String({ pattern: '^[A-Za-z0-9._$-]{1,80}(/[A-Za-z0-9._$-]{1,80}){0,10}$' }),
    username: Type.String({ pattern: '^[A-Za-z0-9._@+-]{1,104}$' }),
    domain: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9._-]{1,64}$' })),
  },
  strict,
);
/** A disk that holds a file system already, by its id. */
export const DiskShare = Type.Object(
  { kind: Type.Literal('disk'), uuid: Type.String({ pattern: '^[0-9A-Fa-f-]{4,40}$' }) },
  strict,
);
export const SharePlace = Type.Union([NfsShare, SmbShare, DiskShare]);
export type SharePlace = Static<typeof SharePlace>;

export const Share = Type.Object({
  id: Id,
  label: Label,
  place: SharePlace,
  /** What lies in the share, so that another one in its place is noticed. */
  marker: Id,
  addedAt: Instant,
});
export type Share = Static<typeof Share>;

/** As people see it. */
export const ShareStatus = Type.Intersect([
  Share,
  Type.Object({
    state: Type.Union([Type.Literal('mounted'), Type.Literal('away')]),
    /** Why it is away, one sentence. */
    message: Type.Union([Type.String(), Type.Null()]),
    /** Folder for a directory target; it exists only while the share is there. */
    path: Type.String(),
  }),
]);
export type ShareStatus = Static<typeof ShareStatus>;
export const ShareList = Type.Object({ items: Type.Array(ShareStatus) });

export const AddShareRequest = Type.Object(
  {
    actor: HostActor,
    label: Label,
    place: SharePlace,
    /** Of an SMB share. */
    password: Type.Optional(Type.String({ minLength: 1, maxLength: 256, pattern: '^[^\\r\\n\\u0000]+$' })),
  },
  strict,
);
export type AddShareRequest = Static<typeof AddShareRequest>;
