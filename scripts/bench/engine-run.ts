/**
 * One act of the engine on a plain directory, in a process of its own so that its memory can be measured:
 * `engine-run.ts init|snapshot|restore|verify|copy STATE-FOLDER [DIRECTORY]`; copy: to a second target in DIRECTORY. Prints one JSON line about what it did.
 * Keys lie in the state folder: this is for measuring, never for real backups.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RepositoryWriteKeys, TargetConfig } from '../../server/backups/engine.ts';
import { numberedName } from '../../server/backups/objects/object-names.ts';
import { openChunkReader, openChunkWriter, verifyPacks } from '../../server/backups/pipeline/index.ts';
import { createRepository } from '../../server/backups/repository/create-repository.ts';
import { copySnapshot } from '../../server/backups/repository/copy-snapshot.ts';
import { listNumbered } from '../../server/backups/repository/listing.ts';
import { openRepository, type Repository } from '../../server/backups/repository/open-repository.ts';
import { openWriter } from '../../server/backups/repository/writer.ts';
import { createLocalRepositoryKeys, signStatement } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';

const HOLDER = 'bench';
const SECTION = 'corpus';

const [act, folder = '', directory = ''] = process.argv.slice(2);
const target = readTarget();
const cataloguePath = join(folder, 'catalogue.sqlite');
const keysPath = join(folder, 'keys.json');

/** A folder in the state folder, unless another target is described there. */
function readTarget(): TargetConfig {
  const described = join(folder, 'target.json');
  if (existsSync(described)) return JSON.parse(readFileSync(described, 'utf8')) as TargetConfig;
  return { kind: 'directory', path: join(folder, 'repository') };
}

interface StoredKeys {
  repositoryId: string;
  trustRoot: string;
  generation: Omit<RepositoryWriteKeys['generations'][number], 'chunkIdSecret' | 'signingKeys'>;
  chunkIdSecret: string;
  signingKey: { id: string; publicKey: string; privateKey: string };
}

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));
const text = (data: Uint8Array): string => Buffer.from(data).toString('base64');

async function init(): Promise<object> {
  if (target.kind === 'directory') mkdirSync(target.path, { recursive: true });
  const local = await createLocalRepositoryKeys({ repositoryId: randomUUID() });
  const [generation] = local.writeKeys.generations;
  if (generation === undefined) throw new Error('the keys have no generation');
  const { chunkIdSecret, identity, recipient, chunking } = generation;
  const stored: StoredKeys = {
    repositoryId: local.writeKeys.repositoryId,
    trustRoot: text(local.writeKeys.trustRoot),
    generation: { generation: generation.generation, identity, recipient, chunking },
    chunkIdSecret: text(chunkIdSecret),
    signingKey: {
      id: local.signingKey.id,
      publicKey: text(local.signingKey.publicKey),
      privateKey: text(local.signingKey.privateKey),
    },
  };
  writeFileSync(keysPath, JSON.stringify(stored), { mode: 0o600 });
  await createRepository({
    target,
    keys: local.writeKeys,
    keysObject: local.keysObject,
    cataloguePath,
    holder: HOLDER,
    clock: systemClock,
  });
  return {};
}

function loadKeys(): RepositoryWriteKeys {
  const stored = JSON.parse(readFileSync(keysPath, 'utf8')) as StoredKeys;
  const { id } = stored.signingKey;
  const publicKey = bytes(stored.signingKey.publicKey);
  const pair = { id, publicKey, privateKey: bytes(stored.signingKey.privateKey) };
  return {
    repositoryId: stored.repositoryId,
    trustRoot: bytes(stored.trustRoot),
    generations: [
      { ...stored.generation, chunkIdSecret: bytes(stored.chunkIdSecret), signingKeys: [{ id, publicKey }] },
    ],
    sign: async (statement) => signStatement(pair, statement),
    lastHeadNumber: async () => '0',
  };
}

async function withRepository<T>(
  use: (repository: Repository, keys: RepositoryWriteKeys) => Promise<T>,
): Promise<T> {
  const keys = loadKeys();
  const repository = await openRepository({ target, keys, cataloguePath });
  try {
    return await use(repository, keys);
  } finally {
    await repository.close();
  }
}

async function snapshot(): Promise<object> {
  return withRepository(async (repository, keys) => {
    const startedMs = systemClock.monotonicMs();
    const [generation] = keys.generations;
    if (generation === undefined) throw new Error('the keys have no generation');
    const parent =
      repository.snapshotReferences.length === 0 ? undefined : await repository.findSnapshot('latest');
    const section = parent?.sections.find(({ name }) => name === SECTION);
    const writer = await openWriter(repository, { keys, holder: HOLDER, clock: systemClock });
    const chunks = openChunkWriter({
      target,
      generation,
      catalogue: repository.catalogue,
      onPacks: (packs) => writer.publishIndex(packs),
    });
    const taken = await chunks.addTree(directory, {
      name: SECTION,
      ...(section === undefined ? {} : { parent: section }),
    });
    const totals = await chunks.finish();
    await writer.publishSnapshot({
      takenAt: systemClock.now().toISOString(),
      durationMs: Math.round(systemClock.monotonicMs() - startedMs),
      generation: generation.generation,
      keyringEpoch: '0',
      addedBytes: totals.bytesAdded,
      storedBytes: totals.bytesStored,
      facts: {},
      sections: [taken],
    });
    await writer.publishHead();
    await writer.release();
    return { ...totals, problems: taken.problemCount };
  });
}

async function restore(): Promise<object> {
  return withRepository(async (repository, keys) => {
    const { sections } = await repository.findSnapshot('latest');
    const [section] = sections;
    if (section === undefined) throw new Error('the snapshot is empty');
    const { catalogue } = repository;
    const reader = await openChunkReader({ target, generations: keys.generations, catalogue });
    const report = await reader.restoreSection(section, directory);
    await reader.close();
    return { problems: report.problemCount };
  });
}

async function verify(): Promise<object> {
  return withRepository(async (repository, keys) => {
    const report = await verifyPacks({
      target,
      generations: keys.generations,
      packs: packsOf(repository),
    });
    return { packs: report.packs, problems: report.problems.length };
  });
}

/** The newest snapshot to a second target, which is made where it is not there yet. */
async function copy(): Promise<object> {
  const keys = loadKeys();
  const place = {
    target: { kind: 'directory', path: directory } as const,
    cataloguePath: `${directory}.sqlite`,
  };
  return withRepository(async (source) => {
    const { target: from, catalogue } = source;
    if (!existsSync(directory)) {
      mkdirSync(directory);
      const [reference] = await listNumbered(from, 'keys');
      if (reference === undefined) throw new Error('the source has no keys');
      const name = numberedName('keys', reference);
      const keysObject = { name, bytes: await from.read(name) };
      await createRepository({ ...place, keys, keysObject, holder: HOLDER, clock: systemClock });
    }
    const repository = await openRepository({ ...place, keys });
    const writer = await openWriter(repository, { keys, holder: HOLDER, clock: systemClock });
    const { id, number } = await source.findSnapshot('latest');
    const report = await copySnapshot(
      { name: 'first', target: from, catalogue },
      { repository, writer },
      { id, number },
      { signal: new AbortController().signal },
    );
    await writer.publishHead();
    await writer.release();
    await repository.close();
    return { packs: report.packs, bytes: report.bytes };
  });
}

function* packsOf(repository: Repository) {
  for (const { row } of repository.catalogue.packs()) {
    const pack = repository.catalogue.pack(row);
    if (pack === undefined) continue;
    const { id, sizeBytes, headerLength, generation, chunks } = pack;
    yield { packId: id, packSizeBytes: sizeBytes, headerLength, generation, chunks };
  }
}

const acts: Record<string, () => Promise<object>> = { init, snapshot, restore, verify, copy };
const chosen = acts[act ?? ''];
if (chosen === undefined) throw new Error(`unknown act: ${act ?? ''}`);
const done = await chosen();
if ('problems' in done && done.problems !== 0) throw new Error(`it found problems: ${JSON.stringify(done)}`);
process.stdout.write(`${JSON.stringify(done)}\n`);
