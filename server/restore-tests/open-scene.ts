/**
 * Opens what a test needs by one of three keys: the test identity from keyd; what the page lent after it opened the
 * keys and the keyring with the kit; or the kit itself, on any machine. With a kit the live keyring is never asked: a
 * scratch keyd gets the keyring from the repository.
 */
import { join } from 'node:path';
import {
  openChunkReader,
  openRepository,
  type ChunkReader,
  type OpenRepositoryOptions,
  type Repository,
  type Target,
  type TargetConfig,
} from '../backups/index.ts';
import {
  connectKeyd,
  createStreamDecryptor,
  findAgeHeaderLength,
  generationOf,
  newestKeyringNames,
  openKeyringObject,
  openSealer,
  readKeysPlaintext,
  startScratchKeyd,
  type FieldSealer,
  type KeyClient,
  type KeysStatement,
  type VerifyKey,
} from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { HoldfastError } from '../lib/errors.ts';
import { makePrivateDirectory } from '../lib/files.ts';
import type { ContentKeys, Scene } from './scene.ts';
import type { LentKeys } from './schema.ts';

/** By what a test opens the repository and its keys. */
export type TestKeys =
  | {
      source: 'test-identity';
      identity: readonly string[];
      repositoryId: string;
      trustRoot: Uint8Array;
      keys: KeyClient;
      sealer: FieldSealer;
    }
  | { source: 'lent'; repositoryId: string; trustRoot: Uint8Array; lent: LentKeys }
  | { source: 'kit'; identity: string; repositoryId: string; trustRoot: Uint8Array };

type SceneOpeners = Pick<Scene, 'openRepository' | 'openReader' | 'openContentKeys'>;

interface SceneOptions {
  target: TargetConfig;
  keys: TestKeys;
  /** A catalogue of the test's own: what the appliance remembers of the target proves nothing about it. */
  scratchDir: string;
  /** The newest head that the appliance remembers; undefined on another machine. Only says what must not be older. */
  knownHead?: OpenRepositoryOptions['knownHead'] | undefined;
  clock: Clock;
}

export function sceneOpeners(options: SceneOptions): SceneOpeners {
  return {
    openRepository: () => openTestRepository(options),
    openReader: (repository) => openTestReader(repository),
    openContentKeys: (repository) => openContentKeys(repository, options),
  };
}

async function openTestRepository(options: SceneOptions): Promise<Repository> {
  const { target, keys, scratchDir, knownHead } = options;
  return openRepository({
    target,
    keys: repositoryKeys(keys),
    cataloguePath: join(scratchDir, 'catalogue.sqlite'),
    ...(knownHead === undefined ? {} : { knownHead }),
  });
}

async function openTestReader(repository: Repository): Promise<ChunkReader> {
  const { target, keys, catalogue } = repository;
  return openChunkReader({ target: target.config, generations: keys.generations, catalogue });
}

function repositoryKeys(keys: TestKeys): OpenRepositoryOptions['keys'] {
  const { repositoryId, trustRoot } = keys;
  if (keys.source !== 'lent') return { identity: keys.identity, repositoryId, trustRoot };
  return {
    ...{ repositoryId, trustRoot },
    generations: lentStatements(keys).map((statement) => generationOf(statement, true)),
  };
}

/** Oldest first. The page cannot lie about keys: only what the trust root signed is believed. */
function lentStatements(keys: Extract<TestKeys, { source: 'lent' }>): KeysStatement[] {
  const { keys: newest, olderKeys = [] } = keys.lent;
  return [...olderKeys, newest].map((lent) => readKeysPlaintext(Buffer.from(lent, 'base64'), keys));
}

async function openContentKeys(repository: Repository, options: SceneOptions): Promise<ContentKeys> {
  const { keys } = options;
  if (keys.source === 'test-identity') {
    return contentKeysOf(keys.keys, keys.sealer, repository.keyringObjects(), () => undefined);
  }
  const signingKeys = repository.keys.generations.flatMap((generation) => [...generation.signingKeys]);
  const { names, plaintexts } = await openKeyring(repository, keys, signingKeys);
  const directory = join(options.scratchDir, 'keyd');
  await makePrivateDirectory(directory);
  const reader = { repositoryId: repository.id, signingKeys };
  const scratch = await startScratchKeyd({ directory, plaintexts, reader });
  for (const plaintext of plaintexts) plaintext.fill(0);
  const { socketPath, credentialFile } = scratch;
  const client = await connectKeyd({ socketPath, credentialFile, role: 'run', clock: options.clock });
  const sealer = openSealer(client);
  return contentKeysOf(client, sealer, names, async () => {
    sealer.close();
    await client.close();
    await scratch.stop();
  });
}

function contentKeysOf(
  client: KeyClient,
  sealer: FieldSealer,
  objects: string[],
  close: () => Promise<void> | void,
): ContentKeys {
  return {
    objects,
    openFileKey: (file, wrapped) => sealer.openFileKey(file, wrapped),
    tryOpen: (requests) => sealer.tryOpen(requests),
    workspaceKeyId: async (workspaceId) => (await client.workspaceKey(workspaceId)).id,
    close: async () => close(),
  };
}

/** Plaintexts of the newest keyring base and its last addition; the scratch keyd verifies them. */
async function openKeyring(
  repository: Repository,
  keys: Exclude<TestKeys, { source: 'test-identity' }>,
  signingKeys: readonly VerifyKey[],
): Promise<{ names: string[]; plaintexts: Buffer[] }> {
  const known = repository.keyringObjects();
  const lent = keys.source === 'lent' ? keys.lent.keyringFileKeys : [];
  const { bases, additions } = newestKeyringNames(
    keys.source === 'lent' ? lent.map(({ name }) => name) : known,
  );
  const names = [...bases, ...additions];
  const plaintexts: Buffer[] = [];
  for (const name of names) {
    const stored = await repository.target.read(name);
    const fileKey = lent.find((entry) => entry.name === name)?.fileKey;
    if (fileKey !== undefined) plaintexts.push(openWithFileKey(stored, Buffer.from(fileKey, 'base64')));
    else if (keys.source === 'kit') {
      const reader = { repositoryId: repository.id, signingKeys, name };
      plaintexts.push(await openKeyringObject(stored, [keys.identity], reader));
    }
  }
  if (plaintexts.length === 0) {
    throw new HoldfastError(
      'integrity_failure',
      'The repository holds no keyring, so that nothing in it can be opened',
    );
  }
  return { names, plaintexts };
}

function openWithFileKey(stored: Buffer, fileKey: Buffer): Buffer {
  const headerLength = findAgeHeaderLength(stored);
  if (headerLength === undefined)
    throw new HoldfastError('integrity_failure', 'A keyring object is cut short');
  const codec = createStreamDecryptor(fileKey);
  const pieces = codec.update(stored.subarray(headerLength));
  return Buffer.concat([...pieces, ...codec.finish()]);
}

interface KitObjects {
  keysObjectName: string;
  keysObject: Buffer;
  /** Of generations before. */
  older: Buffer[];
  keyring: { name: string; header: Buffer }[];
}

/**
 * Age headers of the newest keyring, and the newest keys object: what a page opens with the kit.
 *
 * @param present of the appliance, oldest first: of those of one generation only its newest is for the kits of now.
 */
export async function readKitObjects(
  target: Target,
  names: { keys: readonly string[]; keyring: readonly string[] },
  present: readonly string[],
): Promise<KitObjects> {
  // One that was not given the newest yet has others of the same generation, which a kit of then opens.
  const own = present.filter((name) => names.keys.includes(name));
  const keysObjectName = own.length === present.length ? own.at(-1) : [...names.keys].sort(byNumber).at(-1);
  const { bases, additions } = newestKeyringNames(names.keyring);
  if (keysObjectName === undefined || bases.length === 0) {
    throw new HoldfastError('no_repository', 'The target holds no keys yet', {
      hint: 'Take a snapshot first.',
    });
  }
  const keyring = [];
  for (const name of [...bases, ...additions]) {
    const start = await target.read(name, { offset: 0, length: await headLength(target, name) });
    const length = findAgeHeaderLength(start);
    if (length === undefined) throw new HoldfastError('integrity_failure', `${name} is not an age file`);
    keyring.push({ name, header: start.subarray(0, length) });
  }
  const older = await Promise.all(
    own.filter((name) => name !== keysObjectName).map((name) => target.read(name)),
  );
  return { keysObjectName, keysObject: await target.read(keysObjectName), older, keyring };
}

async function headLength(target: Target, name: string): Promise<number> {
  const found = await target.find(name);
  return Math.min(found?.sizeBytes ?? 0, 65_536);
}

function byNumber(a: string, b: string): number {
  const number = (name: string) => Number(/\/(\d+)-/.exec(name)?.[1] ?? 0);
  return number(a) - number(b);
}
