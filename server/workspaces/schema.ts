/** Shapes of workspaces, folders and files. */
import { Type, type Static } from 'typebox';
import { BigDecimal, Cursor, Id, Instant } from '../lib/shapes.ts';

/** A name of one path part: no slash, no NUL, not `.` or `..`, at most 255 bytes of UTF-8 (checked by the service). */
const NodeName = Type.String({ minLength: 1, maxLength: 255 });

/** Nanoseconds since 1970; as many as a column of 64 bits holds, until the year 2255. */
const FileTime = Type.String({ pattern: '^([0-9]{1,18}|[1-8][0-9]{18})$' });

export const WorkspaceRole = Type.Union([
  Type.Literal('manager'),
  Type.Literal('editor'),
  Type.Literal('viewer'),
]);
export type WorkspaceRole = Static<typeof WorkspaceRole>;

export const Workspace = Type.Object({
  id: Id,
  name: Type.String(),
  kind: Type.String(),
  rootFolderId: Id,
  role: WorkspaceRole,
});
export type Workspace = Static<typeof Workspace>;

export const CreateWorkspaceRequest = Type.Object({ name: NodeName, managerId: Id });
export const RenameWorkspaceRequest = Type.Object({ name: NodeName });

/** A workspace as administrators see it who do not belong to it. */
export const ManagedWorkspace = Type.Object({
  id: Id,
  name: Type.String(),
  kind: Type.String(),
  /** Who has a role of their own. */
  people: Type.Integer(),
  teams: Type.Integer(),
  /** People who can sign in and manage it, by themselves or by a team. */
  managers: Type.Integer(),
  createdAt: Instant,
});
export type ManagedWorkspace = Static<typeof ManagedWorkspace>;

export const WorkspaceMembers = Type.Object({
  id: Id,
  name: Type.String(),
  createdAt: Instant,
  /** Whether members may sign in by a link sent by mail, as far as this workspace goes. */
  magicLinks: Type.Boolean(),
  /** Whether the caller may change the members. */
  mayManage: Type.Boolean(),
  people: Type.Array(
    Type.Object({
      id: Id,
      name: Type.String(),
      email: Type.String(),
      state: Type.Union([Type.Literal('active'), Type.Literal('deactivated')]),
      role: WorkspaceRole,
    }),
  ),
  teams: Type.Array(
    Type.Object({
      id: Id,
      name: Type.String(),
      people: Type.Integer(),
      role: WorkspaceRole,
      /** Who has that role by it; only those who can sign in. */
      members: Type.Array(Type.Object({ id: Id, name: Type.String() })),
    }),
  ),
});
export type WorkspaceMembers = Static<typeof WorkspaceMembers>;

export const Node = Type.Object({
  id: Id,
  workspaceId: Id,
  parentId: Type.Union([Id, Type.Null()]),
  kind: Type.Union([Type.Literal('folder'), Type.Literal('file')]),
  name: Type.String(),
  /** Files only. */
  sizeBytes: Type.Union([Type.Number(), Type.Null()]),
  mediaType: Type.Union([Type.String(), Type.Null()]),
  /** What a sandboxed preview can show. */
  preview: Type.Union([Type.Literal('image'), Type.Literal('text'), Type.Null()]),
  modifiedAt: Instant,
  createdAt: Instant,
  version: BigDecimal,
});
export type Node = Static<typeof Node>;

/** A folder with the chain above it, root first. */
export const FolderPage = Type.Object({
  folder: Node,
  ancestors: Type.Array(Type.Object({ id: Id, name: Type.String() })),
  items: Type.Array(Node),
  total: Type.Integer(),
  nextCursor: Type.Union([Cursor, Type.Null()]),
});
export type FolderPage = Static<typeof FolderPage>;

export const FolderQuery = Type.Object({
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 100 })),
  sort: Type.Optional(
    Type.Union([Type.Literal('name'), Type.Literal('size'), Type.Literal('modified')], { default: 'name' }),
  ),
  order: Type.Optional(Type.Union([Type.Literal('asc'), Type.Literal('desc')], { default: 'asc' })),
  /** Part of a name, within this folder. */
  search: Type.Optional(Type.String({ maxLength: 255 })),
});
export type FolderQuery = Static<typeof FolderQuery>;

export const CreateFolderRequest = Type.Object({ parentId: Id, name: NodeName });
export const ChangeNodeRequest = Type.Object({
  name: Type.Optional(NodeName),
  parentId: Type.Optional(Id),
});
/** Query of `PUT /api/v1/folders/:id/files`; the body is the bytes of the file. */
export const UploadQuery = Type.Object({
  name: NodeName,
  /** Nanoseconds since the epoch; the present when absent. */
  mtime: Type.Optional(FileTime),
  mode: Type.Optional(Type.Integer({ minimum: 0, maximum: 0o7777 })),
  /** What to do when the name is taken. */
  onConflict: Type.Optional(
    Type.Union([Type.Literal('refuse'), Type.Literal('replace'), Type.Literal('rename')], {
      default: 'refuse',
    }),
  ),
});
export type UploadQuery = Static<typeof UploadQuery>;

/** Parts joined by slashes, relative to a folder. */
const FolderPath = Type.String({ minLength: 1, maxLength: 32_768 });

/** Body of `POST /api/v1/folders/:id/paths`. */
export const CreateFoldersRequest = Type.Object({
  paths: Type.Array(FolderPath, { minItems: 1, maxItems: 500 }),
});
/** For each path in order: the folder there, or why there can be none. */
export const CreateFoldersReply = Type.Object({
  items: Type.Array(Type.Union([Type.Object({ folderId: Id }), Type.Object({ reason: Type.String() })])),
});
export type CreateFoldersReply = Static<typeof CreateFoldersReply>;

/** The head of a batch: what its contents are, which follow in this order. */
export const BatchHead = Type.Object({
  onConflict: UploadQuery.properties.onConflict,
  files: Type.Array(
    Type.Object({
      folderId: Id,
      /** Checked one by one: one that cannot be used is answered for, and the others go on. */
      name: Type.String({ maxLength: 1_000 }),
      sizeBytes: Type.Integer({ minimum: 0, maximum: 1024 * 1024 }),
      /** Nanoseconds since the epoch. */
      mtime: FileTime,
    }),
    { minItems: 1, maxItems: 500 },
  ),
});
export type BatchHead = Static<typeof BatchHead>;

export const BatchOutcome = Type.Union([
  Type.Literal('stored'),
  Type.Literal('replaced'),
  /** A file of this name, size and time is there already. */
  Type.Literal('unchanged'),
  /** Another file of this name is there, and the batch said to refuse. */
  Type.Literal('conflict'),
  Type.Literal('refused'),
]);
export type BatchOutcome = Static<typeof BatchOutcome>;

/** What became of each file of a batch, in order. */
export const BatchReply = Type.Object({
  items: Type.Array(Type.Object({ outcome: BatchOutcome, reason: Type.Optional(Type.String()) })),
});
export type BatchReply = Static<typeof BatchReply>;

const ServerPath = Type.String({ minLength: 1, maxLength: 4096, pattern: '^/' });

/** Body of `POST /api/v1/console/import`. Without a folder: the root of the only workspace. */
export const ImportDirectoryRequest = Type.Object({
  /** Absolute path on the appliance. */
  sourceDir: ServerPath,
  folderId: Type.Optional(Id),
});

/** Body of `POST /api/v1/console/export`. */
export const ExportDirectoryRequest = Type.Object({
  /** Absolute path on the appliance: new, empty, or an earlier export of the same folder. */
  targetDir: ServerPath,
  folderId: Type.Optional(Id),
});
