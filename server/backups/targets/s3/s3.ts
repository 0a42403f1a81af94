/**
 * A target that is a bucket on an S3 server, or what lies below a prefix in one.
 *
 * Guarantees: as a directory target, an object is whole or absent and is never overwritten. Each is sent with its SHA-256, which the
 * server compares before it takes the object. A taken name is refused by the server where it has conditional writes
 * (`exclusively.ts` says what happens where it has not). What may be done twice is done again when a connection is lost; where a
 * second try could meet the first, what is there is compared with what was sent.
 *
 * A pack is read back by the hash that the server computed of it, and every sixteenth one whole; all other objects, and all where the
 * server keeps no such hash, are read back whole.
 *
 * Where the bucket keeps versions, the oldest is the object and deleting takes all of them (`versions.ts`).
 *
 * Relies on: a listing shows what was written before it.
 */
import { randomBytes } from 'node:crypto';
import { crashPoint } from '../../../lib/crash-point.ts';
import { systemClock } from '../../../lib/clock.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import { TEMPORARY_PREFIX } from '../../../lib/files.ts';
import type { S3Config, Target, TargetObject } from '../../engine.ts';
import { parseNumberedName, sha256Of } from '../../objects/object-names.ts';
import { checkObjectName, checkPrefix, HINT_NAME, OBJECT_KINDS } from '../object-name.ts';
import { checkReach, hashOf, mayBeDone, openS3Client, type S3Client } from './client.ts';
import { createAmongRivals, hasConditionalWrites, isTaken, ONCE, type Shelf } from './exclusively.ts';
import { explainS3, isMissing, isPassing, S3Refusal } from './failures.ts';
import { LIMITS, type S3Limits } from './limits.ts';
import { holdUntil, lockHeaders, readBucketLock } from './object-lock.ts';
import { listObjects } from './listing.ts';
import { checkS3Config } from './check-config.ts';
import { readBack, readObject, type LocatedObject } from './reading.ts';
import { abortUploads, uploadInParts } from './uploads.ts';
import { deleteVersions, findOldest, keepsVersions, listOldest, listVersions } from './versions.ts';

/** Ids of versions that are remembered, so that many parts of a pack cost one question. */
const MOST_REMEMBERED = 10_000;

interface Scene {
  config: S3Config;
  limits: S3Limits;
  client: S3Client;
  /** The prefix with its `/`, or empty. */
  top: string;
  /** Asked once. */
  versioned: Promise<boolean> | undefined;
  versionIds: Map<string, string>;
  conditional: Promise<boolean> | undefined;
  /** Until `HOLDFAST` or `keys/` was seen. */
  begun: boolean;
}

/**
 * Looks at the bucket; nothing is created.
 *
 * @throws HoldfastError `unavailable` when server or bucket are not there, `target_refused` for a refused key.
 */
export async function openS3Target(config: S3Config, limits: S3Limits = LIMITS): Promise<Target> {
  checkS3Config(config);
  await checkReach(config);
  const scene: Scene = {
    ...{ config, limits, client: openS3Client(config, limits) },
    top: config.prefix === '' ? '' : `${config.prefix}/`,
    versioned: undefined,
    versionIds: new Map(),
    conditional: undefined,
    begun: false,
  };
  try {
    await scene.client.send({
      ...{ method: 'GET', attempts: Math.min(2, limits.attempts) },
      // A listing, because the answer to a HEAD does not say what is wrong.
      query: { 'list-type': '2', prefix: scene.top + HINT_NAME },
    });
  } catch (error) {
    scene.client.close();
    throw explain(scene, error, 'the bucket');
  }
  const key = (name: string): string => {
    checkObjectName(name);
    return scene.top + name;
  };
  const run = <T>(name: string, act: () => Promise<T>): Promise<T> =>
    act().catch((error: unknown) => {
      throw explain(scene, error, name);
    });

  return {
    config,
    async *list(prefix) {
      checkPrefix(prefix);
      try {
        yield* listNames(scene, prefix);
      } catch (error) {
        throw explain(scene, error, prefix);
      }
    },
    find: async (name) => {
      const at = key(name);
      return run(name, async () => {
        const sizeBytes = await findSize(scene, at);
        if (sizeBytes !== undefined) return { name, sizeBytes };
        await checkBucket(scene);
        return undefined;
      });
    },
    read: async (name, range) => {
      const at = key(name);
      return run(name, async () => readObject(scene.client, await located(scene, at, name), range));
    },
    async write(name, data) {
      const at = key(name);
      const parts = data instanceof Uint8Array ? [data] : data;
      await run(name, () => writeOnce(scene, { key: at, name, parts }));
    },
    async create(name, data) {
      const at = key(name);
      await run(name, () => createOnce(scene, { key: at, name, parts: [data] }));
    },
    async delete(name) {
      const at = key(name);
      return run(name, async () => {
        scene.versionIds.delete(at);
        if (await isVersioned(scene)) return deleteVersions(scene.client, at);
        await scene.client.send({ method: 'DELETE', key: at }).catch(ignoreMissing);
        return undefined;
      });
    },
    readBack: async (name) => {
      const at = key(name);
      return run(name, async () => readBack(scene.client, await located(scene, at, name)));
    },
    sweep: () => run('what was left behind', () => sweep(scene)),
    now: () =>
      run('the clock', async () => {
        await checkBucket(scene);
        return scene.client.serverDate();
      }),
    freeBytes: async () => undefined,
    features: () => run('the features', () => findFeatures(scene)),
    topEntries: () => run('the prefix', () => topEntries(scene)),
    async openTrial() {
      const place = `${scene.top}${TEMPORARY_PREFIX}${randomBytes(8).toString('hex')}-trial`;
      const target = await openS3Target({ ...config, prefix: place }, limits);
      const remove = async () => {
        await target.close();
        await run('the trial', () => removeBelow(scene, `${place}/`));
      };
      return { target, remove };
    },
    ...(config.lock === undefined
      ? {}
      : {
          holdUntil: async (name: string, wanted: { atLeast: Date; until: Date }) => {
            const at = key(name);
            const mode = config.lock?.mode ?? 'governance';
            return run(name, async () =>
              holdUntil(scene.client, { key: at, mode, ...wanted, versionId: await versionOf(scene, at) }),
            );
          },
        }),
    async close() {
      scene.client.close();
    },
  };
}

function explain(scene: Scene, error: unknown, what: string): HoldfastError {
  return explainS3(error, scene.config, what, systemClock.now());
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

async function isVersioned(scene: Scene): Promise<boolean> {
  scene.versioned ??= keepsVersions(scene.client);
  return scene.versioned;
}

/** Which version is the object; undefined where there are none to choose from. @throws S3Refusal 404 */
async function versionOf(scene: Scene, key: string): Promise<string | undefined> {
  if (!(await isVersioned(scene))) return undefined;
  const known = scene.versionIds.get(key);
  if (known !== undefined) return known;
  const oldest = await findOldest(scene.client, key);
  if (oldest === undefined) throw new S3Refusal(404, 'NoSuchKey', 'no version of it is there');
  if (scene.versionIds.size >= MOST_REMEMBERED) scene.versionIds.clear();
  scene.versionIds.set(key, oldest.id);
  return oldest.id;
}

async function located(scene: Scene, key: string, name: string): Promise<LocatedObject> {
  return { key, name, versionId: await versionOf(scene, key) };
}

async function findSize(scene: Scene, key: string): Promise<number | undefined> {
  if (await isVersioned(scene)) return (await findOldest(scene.client, key))?.sizeBytes;
  try {
    const { headers } = await scene.client.send({ method: 'HEAD', key });
    return Number(headers['content-length'] ?? 0);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** A HEAD of an object says "not there" also when it is the bucket that is not. */
async function checkBucket(scene: Scene): Promise<void> {
  try {
    await scene.client.send({ method: 'HEAD' });
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new S3Refusal(404, 'NoSuchBucket', 'the bucket is not there');
  }
}

async function* listNames(scene: Scene, prefix: string): AsyncIterable<TargetObject> {
  const { client, top } = scene;
  const wanted = top + prefix;
  const found = (await isVersioned(scene)) ? listOldest(client, wanted) : listObjects(client, wanted);
  for await (const { key, sizeBytes } of found) {
    const name = key.slice(top.length);
    const [kind = ''] = name.split('/');
    if (name !== HINT_NAME && !(name.includes('/') && (OBJECT_KINDS as readonly string[]).includes(kind)))
      continue;
    if (!name.split('/').some((part) => part.startsWith(TEMPORARY_PREFIX))) yield { name, sizeBytes };
  }
}

interface NewObject {
  key: string;
  name: string;
  parts: readonly Uint8Array[];
}

const sizeOf = ({ parts }: NewObject): number => parts.reduce((sum, part) => sum + part.length, 0);

async function writeOnce(scene: Scene, object: NewObject): Promise<void> {
  await checkBegun(scene, object.name);
  // Looked at first: a server without conditional writes would overwrite, and a large object would be sent for nothing.
  const present = await findSize(scene, object.key);
  if (present === undefined) {
    try {
      await put(scene, object, ONCE);
      return;
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
  }
  if ((present ?? (await findSize(scene, object.key))) === sizeOf(object)) return;
  throw conflict(object.name, 'with another size');
}

async function createOnce(scene: Scene, object: NewObject): Promise<void> {
  const { key, name } = object;
  await checkBegun(scene, name);
  if ((await findSize(scene, key)) !== undefined) throw conflict(name, 'already');
  if (!(await isConditional(scene))) {
    if (await createAmongRivals(shelfOf(scene), key, object.parts[0] ?? Buffer.alloc(0))) return;
    throw conflict(name, 'already');
  }
  try {
    await put(scene, object, ONCE);
  } catch (error) {
    if (!isTaken(error)) throw error;
    // An earlier try of ours may have got through without an answer.
    if (mayBeDone(error) && (await isOurs(scene, object))) return;
    throw conflict(name, 'already');
  }
}

async function isOurs(scene: Scene, { key, name, parts }: NewObject): Promise<boolean> {
  return (await readObject(scene.client, await located(scene, key, name))).equals(Buffer.concat(parts));
}

function conflict(name: string, how: string): HoldfastError {
  return new HoldfastError('conflict', `The target holds ${name} ${how}`, {
    hint: 'Objects are never overwritten. Another writer may be at work on this repository.',
  });
}

async function put(scene: Scene, object: NewObject, conditions: Record<string, string>): Promise<void> {
  const { client, config, limits } = scene;
  const { key, name, parts } = object;
  const headers = {
    ...storageHeaders(config),
    ...lockHeaders(config, name, client.serverDate() ?? systemClock.now()),
  };
  if (sizeOf(object) > limits.singlePutBytes) {
    await uploadInParts(client, { key, parts, headers, exclusive: 'If-None-Match' in conditions }, limits);
  } else {
    const sha256 = hashOf(parts, 'base64');
    const sent = {
      ...{ method: 'PUT' as const, key, body: parts, sha256: Buffer.from(sha256, 'base64').toString('hex') },
      headers: {
        ...headers,
        'Content-Type': 'application/octet-stream',
        'x-amz-checksum-sha256': sha256,
        'x-amz-sdk-checksum-algorithm': 'SHA256',
        // Asked for by some servers, where a lock comes with it.
        ...('x-amz-object-lock-mode' in headers ? { 'Content-MD5': hashOf(parts, 'base64', 'md5') } : {}),
      },
    };
    try {
      await client.send({ ...sent, headers: { ...sent.headers, ...conditions } });
    } catch (error) {
      // The condition alone may be what the server does not know.
      if (!(error instanceof S3Refusal) || error.status !== 501) throw error;
      await client.send(sent);
    }
  }
  crashPoint('target.object.written');
  crashPoint('target.object.linked');
}

function storageHeaders({ storageClass, encryption }: S3Config): Record<string, string> {
  return {
    ...(storageClass === undefined ? {} : { 'x-amz-storage-class': storageClass }),
    ...(encryption?.kind === 'sse-s3' ? { 'x-amz-server-side-encryption': 'AES256' } : {}),
    ...(encryption?.kind === 'sse-kms' ? { 'x-amz-server-side-encryption': 'aws:kms' } : {}),
    ...(encryption?.kind === 'sse-kms' && encryption.keyId !== undefined
      ? { 'x-amz-server-side-encryption-aws-kms-key-id': encryption.keyId }
      : {}),
  };
}

/** A bucket that was emptied, or another one under the same name, is not filled. */
async function checkBegun(scene: Scene, name: string): Promise<void> {
  if (scene.begun || name === HINT_NAME || name.startsWith('keys/')) return;
  for await (const sign of listNames(scene, 'keys/')) {
    scene.begun = sign.name !== '';
    return;
  }
  if ((await findSize(scene, scene.top + HINT_NAME)) !== undefined) {
    scene.begun = true;
    return;
  }
  const { bucket, prefix } = scene.config;
  throw new HoldfastError(
    'unavailable',
    `The bucket ${bucket}${prefix === '' ? '' : `, below ${prefix},`} holds no repository any more`,
    {
      hint: 'Check bucket and prefix, and what happened to them: as with a disk that is not mounted, nothing was written in its place.',
    },
  );
}

function shelfOf(scene: Scene): Shelf {
  const { client, top, limits } = scene;
  return {
    ...{ client, top, rivalsMs: limits.rivalsMs },
    put: (key, data, conditions) =>
      put(scene, { key, name: key.slice(top.length), parts: [data] }, conditions),
    exists: async (key) => (await findSize(scene, key)) !== undefined,
    list: (prefix) => listObjects(client, prefix),
    remove: async (key) => {
      if (await isVersioned(scene)) await deleteVersions(client, key);
      else await client.send({ method: 'DELETE', key }).catch(ignoreMissing);
    },
  };
}

async function isConditional(scene: Scene): Promise<boolean> {
  scene.conditional ??= (async () => {
    for await (const { name, sizeBytes } of listNames(scene, 'keys/')) {
      if (sizeBytes > 1024 * 1024) continue;
      const key = scene.top + name;
      const data = await readObject(scene.client, await located(scene, key, name));
      // Where the server overwrites, what was garbled on its way here would take the place of the repository's keys.
      if (parseNumberedName('keys', name)?.sha256 !== sha256Of(data)) continue;
      return hasConditionalWrites(shelfOf(scene), { key, data });
    }
    return hasConditionalWrites(shelfOf(scene), undefined);
  })();
  return scene.conditional;
}

/** Only the one writer comes here, before it writes: what is under way is not its own. */
async function sweep(scene: Scene): Promise<number> {
  const { client, top } = scene;
  let count = 0;
  try {
    count += await abortUploads(client, top);
  } catch (error) {
    // Some servers and keys do not list uploads; what is left then costs room, and nothing else.
    if (!(error instanceof S3Refusal) || error.code === 'NoSuchBucket' || isPassing(error)) throw error;
  }
  return count + (await removeBelow(scene, top + TEMPORARY_PREFIX));
}

/** @returns how many objects went; those that a lock holds stay. */
async function removeBelow(scene: Scene, prefix: string): Promise<number> {
  const { client } = scene;
  const keys = new Set<string>();
  const versioned = await isVersioned(scene);
  for await (const { key } of versioned ? listVersions(client, prefix) : listObjects(client, prefix))
    keys.add(key);
  let count = 0;
  for (const key of keys) {
    if (!versioned) await client.send({ method: 'DELETE', key }).catch(ignoreMissing);
    if (!versioned || (await deleteVersions(client, key)) === undefined) count++;
  }
  return count;
}

async function topEntries(scene: Scene): Promise<string[]> {
  const names = new Set<string>();
  for await (const { key } of listObjects(scene.client, scene.top, '/')) {
    const [first = ''] = key.slice(scene.top.length).split('/');
    if (first !== '') names.add(first);
  }
  return [...names];
}

/** `versions`, `conditional-writes`, `object-lock`; `region=` and `default-lock=` with what the server says. */
async function findFeatures(scene: Scene): Promise<ReadonlySet<string>> {
  const features = new Set<string>();
  const { headers } = await scene.client.send({ method: 'HEAD' });
  const region = headers['x-amz-bucket-region'];
  if (typeof region === 'string') {
    features.add(`region=${region.slice(0, 64)}`);
    // To find out more, something is written: not where nobody wants it.
    if (region !== scene.config.region) return features;
  }
  const lock = await readBucketLock(scene.client);
  if (lock.on) features.add('object-lock');
  if (lock.usually !== undefined) features.add(`default-lock=${lock.usually}`);
  if (await isVersioned(scene)) features.add('versions');
  if (await isConditional(scene)) features.add('conditional-writes');
  return features;
}
