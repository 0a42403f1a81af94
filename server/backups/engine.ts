/**
 * The seams of the backup engine: what the target, the repository and the bulk pipeline expect of each other.
 * Shapes only; the parts are in `targets/`, `repository.ts`, `pipeline/` and the sources.
 */

export type {
  ChunkingParameters,
  RepositoryGeneration,
  RepositoryReadKeys,
  RepositoryWriteKeys,
  VerifyKey,
} from '../keys/index.ts';

/** How to reach a target. Serialisable, so that a worker thread can open its own connection. */
export type TargetConfig = DirectoryConfig | SftpConfig | S3Config;

/** How much may be sent to a target. */
export interface Pace {
  bytesPerSecond: number;
  /** When that holds; always, where it does not say. */
  hours?: {
    /** `HH:MM`; the whole day when both are the same. */
    from: string;
    to: string;
    /** 1 for Monday to 7. */
    days: readonly number[];
    /** IANA name. */
    timeZone: string;
  };
  /** What the threads of a process share (`targets/pace.ts`). */
  line?: SharedArrayBuffer;
}

export interface DirectoryConfig {
  kind: 'directory';
  pace?: Pace;
  /** Absolute path of the repository's top directory. */
  path: string;
}

/** Holds secrets: it stays in memory, and is never written, logged or given as an argument. */
export interface SftpConfig {
  kind: 'sftp';
  pace?: Pace;
  host: string;
  port: number;
  /** Whether the server may be this machine; never kept, but decided by who asks. Absent: no. */
  ownMachine?: boolean;
  username: string;
  /** Absolute path on the server. */
  path: string;
  /** What the server has to show before anything else happens. */
  hostKey: Pick<SftpHostKey, 'fingerprint'> & Partial<SftpHostKey>;
  /** Absent where it is not known, as on a recovered appliance. */
  signIn?: SftpSignIn;
}

export type SftpSignIn =
  | { kind: 'password'; password: string }
  /** PEM or the format of OpenSSH, without a passphrase. */
  | { kind: 'private-key'; privateKey: string };

export interface SftpHostKey {
  /** Such as `ssh-ed25519`. */
  type: string;
  /** As OpenSSH prints it: `SHA256:` and 43 characters. */
  fingerprint: string;
}

/** Holds secrets, as `SftpConfig` does. */
export interface S3Config {
  kind: 's3';
  pace?: Pace;
  /** `https://host:port` of the server, without the bucket. */
  endpoint: string;
  /** As of an SFTP server. */
  ownMachine?: boolean;
  /** As requests are signed. */
  region: string;
  bucket: string;
  /** Below which the repository lies: parts between `/`, none at the ends; empty for the whole bucket. */
  prefix: string;
  /** `https://host/bucket/key`, as most servers of one's own want it, instead of `https://bucket.host/key`. */
  pathStyle: boolean;
  /** PEM of the authority that signed the server's certificate, where it is none of the public ones. */
  ca?: string;
  storageClass?: string;
  /** By the server, on top of ours. Without a key id, KMS uses the key of the account. */
  encryption?: { kind: 'sse-s3' } | { kind: 'sse-kms'; keyId?: string };
  lock?: ObjectLock;
  /** Absent where it is not known, as on a recovered appliance. */
  signIn?: S3SignIn;
}

export interface ObjectLock {
  /** Compliance: nobody shortens it, not even the account's owner. Governance: whoever has a special right does. */
  mode: 'governance' | 'compliance';
  /** At least so long after the last snapshot that needs it an object cannot be deleted. */
  days: number;
  /** The days are those that the target's policy promises (`lock-days.ts`). */
  followsPolicy?: boolean;
}

export type S3SignIn = S3AccessKey | { kind: 'role' };

export interface S3AccessKey {
  kind: 'access-key';
  accessKeyId: string;
  secretAccessKey: string;
  /** Of a key that was lent for some hours. */
  sessionToken?: string;
}

export interface TargetObject {
  name: string;
  sizeBytes: number;
}

/** An object that the target does not let go yet. */
export interface Held {
  /** Undefined when the target does not say; far away for a hold without an end. */
  until: Date | undefined;
}

/** What a read-back found. */
export interface ReadBack {
  sizeBytes: number;
  /** Hex SHA-256 of the stored bytes. */
  sha256: string;
}

/**
 * A place that holds repository objects. Objects are write-once: a name is written whole or not at all, is durable when
 * `write` returns, and is never overwritten.
 *
 * A target that holds nothing yet takes only `HOLDFAST` and `keys/…`; everything else is refused as `unavailable` until one
 * of them is there, so that the empty mount point of a lost disk is never filled.
 */
export interface Target {
  readonly config: TargetConfig;
  /** Objects whose name starts with `prefix` (which ends in `/`, or is empty), in any order. Temporaries are not listed. */
  list(prefix: string): AsyncIterable<TargetObject>;
  /** @returns size, or undefined when there is no such object. */
  find(name: string): Promise<TargetObject | undefined>;
  /**
   * Whole object, or the given bytes of it; with `into`, at the start of that buffer, of which a view is returned.
   *
   * @throws not_found; integrity_failure when shorter than asked.
   */
  read(name: string, range?: { offset: number; length: number; into?: Buffer }): Promise<Buffer>;
  /** Durable, write-once. Writing an existing name again with the same size is a no-op. @throws no_space, unavailable, conflict. */
  write(name: string, data: Uint8Array | readonly Uint8Array[]): Promise<void>;
  /** As `write`, but `conflict` whenever the name exists. */
  create(name: string, data: Uint8Array): Promise<void>;
  /** Absent is fine. @returns until when a lock holds it, when it was not deleted for that. */
  delete(name: string): Promise<Held | undefined>;
  /** Hashes the stored object, past the operating system's cache where that is possible. @throws not_found, unavailable. */
  readBack(name: string): Promise<ReadBack>;
  /** Removes what interrupted writes left behind; only for the one writer, before it writes. @returns how many. */
  sweep(): Promise<number>;
  /** The target's own clock, for the clock guard; undefined when it has none. */
  now(): Promise<Date | undefined>;
  freeBytes(): Promise<number | undefined>;
  /**
   * Of a target that locks what it holds: lets nobody delete the object before `until`, where its lock ends before `atLeast`. Never
   * shortens.
   *
   * @returns until when it is locked now. Absent on targets without locks.
   */
  holdUntil?: (name: string, wanted: { atLeast: Date; until: Date }) => Promise<Date>;
  /** What a server says that it can, by the names of its protocol's extensions; empty for a directory. */
  features(): Promise<ReadonlySet<string>>;
  /** Names in the top folder, whatever they are: a place for a new repository must be empty. */
  topEntries(): Promise<string[]>;
  /** A target in a new folder below the top, which no repository has, for trying out; with what takes it away again. */
  openTrial(): Promise<{ target: Target; remove(): Promise<void> }>;
  close(): Promise<void>;
}

/** One chunk as it lies in a pack. Offsets count bytes of the decrypted payload. */
export interface PackChunk {
  /** Hex, 32 bytes. */
  id: string;
  offset: number;
  storedLength: number;
  originalLength: number;
}

/** A pack that lies on the target, durable and read back. */
export interface WrittenPack {
  /** Hex SHA-256 of the stored bytes; also its name. */
  id: string;
  kind: 'data' | 'tree';
  sizeBytes: number;
  headerLength: number;
  generation: number;
  /** In the order they lie in the pack; at most 50,000. */
  chunks: PackChunk[];
}

/** Where a chunk is. */
export interface ChunkLocation {
  packId: string;
  packSizeBytes: number;
  headerLength: number;
  generation: number;
  offset: number;
  storedLength: number;
  originalLength: number;
}

/** The catalogue as the pipeline sees it. */
export interface ChunkCatalogue {
  /** One answer per id, in order. */
  locate(ids: readonly string[]): (ChunkLocation | undefined)[];
  /** Every known chunk id of this repository, for a shared look-up table. */
  ids(): Iterable<Uint8Array>;
  count(): number;
  /**
   * Says which chunks the lines of a file-list segment name, or which chunks a chunk list lists, so that prune knows them
   * without reading it: a write-only appliance could not. To be called with all of them, for every segment and chunk list that a
   * run builds itself, also when its chunk turns out to be stored already. What is known already is not asked for again.
   */
  noteSegment(segmentChunk: string, chunkIds: Iterable<string>): void;
}

/** One line of a file list. Keys as in FORMAT.md; absent means default or not recorded. */
export interface FileEntry {
  /** Relative, `/` between parts, no leading slash; '' is the root itself. */
  path?: string;
  pathB64?: string;
  type: 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'char-device' | 'block-device';
  mode?: number;
  uid?: number;
  gid?: number;
  user?: string;
  group?: string;
  /** Nanoseconds since the epoch, decimal. */
  mtime?: string;
  ctime?: string;
  inode?: string;
  device?: string;
  /** Hard links: same device and inode, more than one link; the first by path carries the content. */
  linkGroup?: string;
  size?: number;
  target?: string;
  targetB64?: string;
  rdev?: string;
  xattrs?: Record<string, string>;
  acl?: string;
  /** `[offset, length]` of holes. */
  holes?: [number, number][];
  /** Hex ids; over 1,000 they are themselves stored as chunks, listed here as `chunkLists`. */
  chunks?: string[];
  chunkLists?: string[];
  /** Hex file hash. */
  hash?: string;
}

/** One segment of a section's file list. */
export interface SegmentReference {
  /** First path in it, base64 of its bytes. */
  first: string;
  chunk: string;
  /** Hex SHA-256 of the segment's bytes. */
  sha256: string;
  lines: number;
  bytes: number;
}

/** What a snapshot says of one source. */
export interface SourceSection {
  name: string;
  kind: 'directory' | 'postgres';
  /** Kind-specific facts; for postgres: system id, timeline, LSNs, restore point, counts. */
  facts: Record<string, unknown>;
  segments: SegmentReference[];
  fileCount: number;
  directoryCount: number;
  sizeBytes: number;
  /** What was left out or changed while read. */
  problems: SourceProblem[];
  problemCount: number;
}

export interface SourceProblem {
  path: string;
  reason: string;
}

/** What a run hands over to be published as a snapshot. Its packs and their index are on the target by then. */
export interface SnapshotDraft {
  /** The instant that the snapshot shows, RFC 3339, UTC. */
  takenAt: string;
  durationMs: number;
  /** The generation its newest packs were written under. */
  generation: number;
  /** Decimal: the snapshot can be read with this keyring epoch or a later one. '0' when no key is needed. */
  keyringEpoch: string;
  /** Original and stored bytes that this run added. */
  addedBytes: number;
  storedBytes: number;
  /** Facts about the whole snapshot: versions, restore point, tree head, counts. No secrets. */
  facts: Record<string, unknown>;
  /** Names must differ and match `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`. */
  sections: SourceSection[];
}

/** A published snapshot. */
export interface SnapshotRecord extends SnapshotDraft {
  /** Hex SHA-256 of its object as stored, also in the object's name. */
  id: string;
  number: number;
  /** Its object tells of these too, and the target keeps them no more: they are not among `sections`. Absent: of none. */
  expired?: ExpiredSection[];
}

/** A part of a retained snapshot that is not kept any more. */
export interface ExpiredSection {
  section: SourceSection;
  /** RFC 3339, UTC. */
  at: string;
  /** What the policy says, in plain words. */
  because: string;
}

/** Live numbers of a run, sent at most a few times a second. */
export interface EngineProgress {
  step: string;
  filesDone: number;
  filesTotal: number | undefined;
  bytesDone: number;
  bytesTotal: number | undefined;
  bytesAdded: number;
  bytesStored: number;
}

export type ReportProgress = (progress: EngineProgress) => void;

export interface FileOptions {
  chunkBytes: number;
  /** Told what was stored, for the next time. */
  onStored?: (stored: StoredContent) => void;
}

/** What a file came to. */
export interface StoredContent {
  size: number;
  /** 32 bytes per chunk, in order. */
  ids: Uint8Array;
  /** SHA-256 of each chunk, likewise. */
  digests: Uint8Array;
}

export interface ChangedContent {
  size: number;
  /** The same file in an earlier snapshot, in chunks of the same size; absent: all of it is read. */
  before: StoredContent | undefined;
  /** Whether something in `[from, to)` is not what it was. */
  isChanged(from: number, to: number): boolean;
  /** Less than `length` at the file's end; undefined when it is gone. */
  read(offset: number, length: number): Promise<Uint8Array | undefined>;
}

/**
 * Takes the entries of a source that is not a directory tree, such as a database's base backup. Entries come in any order
 * (the list is sorted at the end); calls may overlap.
 */
export interface SourceWriter {
  /** An entry without content. */
  addEntry(entry: FileEntry): Promise<void> | void;
  /** Content in pieces of any length, cut into chunks of `chunkBytes`. Size, chunks and hash are filled in. */
  addFile(entry: FileEntry, content: AsyncIterable<Uint8Array>, options: FileOptions): Promise<unknown>;
  /**
   * Content of which only what changed is read; the other chunks are those of an earlier snapshot, as far as the repository has them.
   *
   * @returns the entry as it is listed, or undefined when the file is gone: it is not listed then
   */
  addChangedFile(
    entry: FileEntry,
    content: ChangedContent,
    options: FileOptions,
  ): Promise<FileEntry | undefined>;
  /** `facts` given at the opening are read here, so they may be completed until then. */
  finish(): Promise<SourceSection>;
}
