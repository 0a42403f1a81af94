/** The files: every one that the database names is in the snapshot, as long and (read whole, or a sample) with the hash that it names. */
import { createHash, randomInt } from 'node:crypto';
import type { FileEntry } from '../../backups/index.ts';
import { nodeNameContext, openStoredFile, readVerified } from '../../workspaces/index.ts';
import { listNamedFiles, sampleNames, samplePeople, type NamedFile } from '../scratch-queries.ts';
import { need, type Check, type Scene } from '../scene.ts';
import { inDatabase } from './database-checks.ts';

/** Files that a quick test reads whole. */
const SAMPLE_FILES = 50;
/** Files whose content is decrypted, and the longest of them, since it is held in memory. */
const DECRYPT_FILES = 20;
const DECRYPT_LIMIT_BYTES = 16 * 1024 * 1024;
const SAMPLE_NAMES = 50;
const MAX_LISTED = 10;

interface PairedFile {
  named: NamedFile;
  entry: FileEntry;
}

export const filesCheck: Check = {
  id: 'files',
  label: 'Every file that the database names is in the snapshot (or came with the log), with its hash',
  async run(scene) {
    const wrong = createList();
    const sample = createSample<PairedFile>(SAMPLE_FILES);
    const read = { files: 0, bytes: 0, ms: 0, totalBytes: 0 };
    let named = 0;
    let expectedBytes = need(scene.filesSection, 'the snapshot').sizeBytes;
    const readOne = async (file: PairedFile) => {
      const startedAt = scene.clock.monotonicMs();
      const hash = await hashContent(scene, file.entry, (bytes) => {
        read.bytes += bytes;
        scene.progress(read.bytes, expectedBytes);
      });
      read.files += 1;
      read.ms += scene.clock.monotonicMs() - startedAt;
      if (hash !== file.named.storedSha256) wrong.add(`${file.named.contentId}: another hash`);
    };
    for await (const file of pairFiles(scene)) {
      named += 1;
      const { entry } = file;
      if (entry === undefined) wrong.add(`${file.named.contentId} is missing`);
      else if (entry.size !== file.named.storedBytes) wrong.add(`${file.named.contentId}: another length`);
      else if (scene.mode === 'full') await readOne({ named: file.named, entry });
      else sample.add({ named: file.named, entry });
      read.totalBytes += file.named.storedBytes;
    }
    if (scene.mode === 'quick')
      expectedBytes = sample.taken.reduce((sum, file) => sum + file.named.storedBytes, 0);
    for (const file of sample.taken) await readOne(file);
    scene.filesRead = { bytes: read.bytes, ms: read.ms, totalBytes: read.totalBytes };
    return {
      passed: wrong.count === 0,
      expected: `${named} files present${scene.mode === 'full' ? ', all with their hash' : ', a sample with its hash'}`,
      found: [
        `${named - wrong.count} of ${named} in order, ${read.files} read and hashed (${read.bytes} bytes)`,
        ...wrong.listed,
      ].join('; '),
    };
  },
};

/** The database's list and the snapshot's list are sorted alike, so both are read once, side by side. */
async function* pairFiles(scene: Scene): AsyncGenerator<{ named: NamedFile; entry: FileEntry | undefined }> {
  const reader = need(scene.reader, 'the repository');
  const section = need(scene.filesSection, 'the snapshot');
  const pairs = channel<{ named: NamedFile; entry: FileEntry | undefined }>();
  const work = inDatabase(scene, async (client) => {
    const entries = reader.listEntries(section)[Symbol.asyncIterator]();
    let entry = await nextFile(entries);
    for await (const named of listNamedFiles(client)) {
      scene.signal.throwIfAborted();
      const path = `${named.contentId.slice(0, 2)}/${named.contentId}`;
      while (entry !== undefined && (entry.path ?? '') < path) entry = await nextFile(entries);
      await pairs.put({ named, entry: entry?.path === path ? entry : scene.point?.born.get(path) });
    }
    await entries.return?.();
  });
  work.then(pairs.end, pairs.fail);
  try {
    yield* pairs.items();
  } finally {
    pairs.stop();
    await work.catch(() => undefined);
  }
}

async function nextFile(entries: AsyncIterator<FileEntry>): Promise<FileEntry | undefined> {
  for (;;) {
    const next = await entries.next();
    if (next.done === true) return undefined;
    if (next.value.type === 'file') return next.value;
  }
}

/** Hands items from one loop to another, one at a time. */
function channel<T>() {
  let taken: PromiseWithResolvers<void> = Promise.withResolvers();
  let offered = Promise.withResolvers<{ item: T } | undefined>();
  let stopped = false;
  taken.resolve();
  return {
    async put(item: T) {
      await taken.promise;
      if (stopped) throw new Error('the reader stopped');
      taken = Promise.withResolvers();
      offered.resolve({ item });
      await taken.promise;
    },
    end: () => offered.resolve(undefined),
    fail: (error: unknown) => offered.reject(error),
    stop() {
      stopped = true;
      taken.resolve();
      offered.promise.catch(() => undefined);
    },
    async *items(): AsyncGenerator<T> {
      for (;;) {
        const next = await offered.promise;
        if (next === undefined) return;
        offered = Promise.withResolvers();
        yield next.item;
        taken.resolve();
      }
    },
  };
}

async function hashContent(
  scene: Scene,
  entry: FileEntry,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of need(scene.reader, 'the repository').readFile(entry)) {
    scene.signal.throwIfAborted();
    hash.update(part);
    onBytes(part.length);
  }
  return hash.digest('hex');
}

export const decryptCheck: Check = {
  id: 'decrypt-files',
  label: 'Sampled files decrypt with the keys of the snapshot',
  async run(scene) {
    const keys = need(scene.contentKeys, 'the keyring');
    const sample = createSample<PairedFile>(DECRYPT_FILES);
    for await (const { named, entry } of pairFiles(scene)) {
      if (entry !== undefined && named.storedBytes <= DECRYPT_LIMIT_BYTES) sample.add({ named, entry });
    }
    const wrong = createList();
    for (const file of sample.taken) {
      scene.signal.throwIfAborted();
      await decryptFile(scene, keys, file).catch((error: unknown) => {
        wrong.add(`${file.named.contentId}: ${error instanceof Error ? error.message : 'does not decrypt'}`);
      });
    }
    return {
      passed: wrong.count === 0,
      expected: `${sample.taken.length} sampled files decrypt to the size and hash in their footers`,
      found: [`${sample.taken.length - wrong.count} decrypted`, ...wrong.listed].join('; '),
    };
  },
};

/** In memory and dropped: decrypted content is never written. */
async function decryptFile(
  scene: Scene,
  keys: NonNullable<Scene['contentKeys']>,
  file: PairedFile,
): Promise<void> {
  const { workspaceId, subjectKeyId, contentId, version, wrappedKey, sizeBytes } = file.named;
  const context = { workspaceId, subjectKeyId, contentId, version };
  const parts: Buffer[] = [];
  for await (const part of need(scene.reader, 'the repository').readFile(file.entry))
    parts.push(Buffer.from(part));
  const stored = Buffer.concat(parts);
  const key = await keys.openFileKey(context, wrappedKey);
  try {
    const opened = await openStoredFile(
      { sizeBytes: stored.length, read: async (offset, length) => stored.subarray(offset, offset + length) },
      { ...context, key },
    );
    let bytes = 0;
    for await (const part of readVerified(opened)) bytes += part.length;
    if (bytes !== sizeBytes) throw new Error('another length than the database says');
  } finally {
    key.fill(0);
  }
}

export const namesCheck: Check = {
  id: 'decrypt-names',
  label: 'Sampled names of files and people open with the keys of the snapshot',
  async run(scene) {
    const keys = need(scene.contentKeys, 'the keyring');
    const [names, people] = await inDatabase(scene, async (client) => [
      await sampleNames(client, SAMPLE_NAMES),
      await samplePeople(client, SAMPLE_NAMES),
    ]);
    const requests = [];
    for (const { nodeId, workspaceId, nameSealed } of names) {
      const keyId = await keys.workspaceKeyId(workspaceId);
      const context = nodeNameContext(workspaceId, nodeId);
      requests.push({ keyId, purpose: 'names' as const, context, sealed: nameSealed });
    }
    for (const { userId, subjectKeyId, nameSealed, emailSealed } of people) {
      const context = {
        type: 'user-name',
        workspaceId: '',
        subjectId: subjectKeyId,
        objectId: userId,
        version: '',
      };
      const common = { keyId: subjectKeyId, purpose: 'person' as const };
      requests.push({ ...common, context, sealed: nameSealed });
      requests.push({ ...common, context: { ...context, type: 'user-email' }, sealed: emailSealed });
    }
    const opened = await keys.tryOpen(requests);
    const failed = opened.filter((value) => value instanceof Error).length;
    return {
      passed: failed === 0,
      expected: `${requests.length} sealed values open`,
      found: `${requests.length - failed} opened, ${failed} did not`,
    };
  },
};

/** Every item has the same chance to be among at most `size` kept ones (reservoir sampling). */
export function createSample<T>(size: number): { taken: T[]; add(item: T): void } {
  const taken: T[] = [];
  let seen = 0;
  return {
    taken,
    add(item) {
      seen += 1;
      if (taken.length < size) taken.push(item);
      else {
        const at = randomInt(seen);
        if (at < size) taken[at] = item;
      }
    },
  };
}

function createList() {
  const list = {
    count: 0,
    listed: [] as string[],
    add(line: string) {
      list.count += 1;
      if (list.listed.length < MAX_LISTED) list.listed.push(line);
    },
  };
  return list;
}
