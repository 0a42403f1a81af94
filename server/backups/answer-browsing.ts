/** The browsing process's side: repositories and snapshots stay open between questions. */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { needsKit, type KeyClient } from '../keys/index.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import { PRIVATE_DIRECTORY_MODE } from '../lib/files.ts';
import type { FolderLine } from './appliance-queries.ts';
import type { TargetConfig } from './engine.ts';
import { openChunkReader, type ChunkReader } from './pipeline/chunk-reader.ts';
import { openRepository, type Repository } from './repository/open-repository.ts';
import type { BrowseAnswer, BrowseQuestion } from './snapshot-browser.ts';
import { openSnapshotListing, type SnapshotListing } from './snapshot-listing.ts';
import { takeTestIdentities } from './target-repository.ts';
import { describePlace } from './target-config.ts';

/** Ancestors of a folder; a longer chain is a loop. */
const DEEPEST = 1_000;

interface BrowsingOptions {
  keys: KeyClient;
  /** A catalogue of its own: the one beside it belongs to the run that writes. */
  catalogueDir: string;
  runId: string;
}

export interface Browsing {
  answer(message: unknown): Promise<BrowseAnswer>;
  close(): Promise<void>;
}

/** @throws HoldfastError when the test identity is not there or the repository cannot be opened: told with the first answer. */
export async function answerBrowsing(options: BrowsingOptions): Promise<Browsing> {
  const identity = takeTestIdentities(options.keys, options.runId);
  identity.catch(() => undefined);
  const status = await options.keys.status();
  await mkdir(options.catalogueDir, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
  const opened = new Map<string, Promise<OpenSnapshot>>();

  const open = async (question: BrowseQuestion): Promise<OpenSnapshot> => {
    const { repositoryId, trustRoot } = status.repository;
    const known = await identity;
    if (repositoryId === null || trustRoot === null || known === undefined) throw needsKit();
    const repository = await openRepository({
      target: question.target,
      keys: { identity: known, repositoryId, trustRoot: Buffer.from(trustRoot, 'base64') },
      cataloguePath: join(options.catalogueDir, `${repositoryId}.${placeName(question.target)}.sqlite`),
    });
    const reader = await openChunkReader({
      target: repository.target.config,
      generations: repository.keys.generations,
      catalogue: repository.catalogue,
    });
    const snapshot = await repository.findSnapshot(question.snapshotId);
    return { repository, reader, listing: openSnapshotListing(reader, snapshot) };
  };
  return {
    answer: async (message) => {
      const question = message as BrowseQuestion;
      const key = `${locationKey(question.target)} ${question.snapshotId}`;
      try {
        let snapshot = opened.get(key);
        if (snapshot === undefined) {
          await closeAll(opened);
          snapshot = open(question);
          opened.set(key, snapshot);
        }
        const { listing } = await snapshot;
        const nodes = await listing.nodes(question.folderId);
        return { id: question.id, ancestors: await ancestorsOf(listing, question.folderId), nodes };
      } catch (error) {
        opened.delete(key);
        return { id: question.id, error: describe(error) };
      }
    },
    close: () => closeAll(opened),
  };
}

/** Each place has a catalogue of its own: what one holds says nothing about another. */
function placeName(target: TargetConfig): string {
  return createHash('sha256').update(describePlace(target)).digest('hex').slice(0, 16);
}

/** Without secrets. */
function locationKey(target: TargetConfig): string {
  return describePlace(target);
}

interface OpenSnapshot {
  repository: Repository;
  reader: ChunkReader;
  listing: SnapshotListing;
}

async function closeAll(opened: Map<string, Promise<OpenSnapshot>>): Promise<void> {
  const open = [...opened.values()];
  opened.clear();
  for (const one of open) {
    const snapshot = await one.catch(() => undefined);
    await snapshot?.reader.close();
    await snapshot?.repository.close();
  }
}

/** From the top folder down to the folder itself. */
async function ancestorsOf(listing: SnapshotListing, folderId: string): Promise<FolderLine[]> {
  const folders = await listing.folders();
  const chain: FolderLine[] = [];
  for (let id: string | null = folderId; id !== null && chain.length < DEEPEST;) {
    const folder: FolderLine | undefined = folders.get(id);
    if (folder === undefined) break;
    chain.unshift(folder);
    id = folder.parentId;
  }
  return chain;
}

function describe(error: unknown): { code: HoldfastError['code']; message: string; hint?: string } {
  if (!(error instanceof HoldfastError)) {
    return { code: 'internal', message: `The snapshot cannot be read: ${messageOf(error)}` };
  }
  return {
    code: error.code,
    message: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  };
}
