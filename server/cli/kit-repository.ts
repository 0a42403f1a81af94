/**
 * A repository opened with nothing but a target and a recovery kit, for the commands that need no running appliance. What it
 * keeps on disk (a catalogue, a scratch keyring's socket) lies in a private temporary folder that goes with it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  openChunkReader,
  openRepository,
  type ChunkReader,
  type Repository,
  type TargetConfig,
} from '../backups/index.ts';
import {
  connectKeyd,
  newestKeyringNames,
  openKeyringObject,
  openSealer,
  startScratchKeyd,
  type FieldSealer,
  type KeyClient,
  type RecoveryKit,
} from '../keys/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Output } from './output.ts';
import { readWholeKit } from './secrets.ts';

export interface KitRepository {
  repository: Repository;
  reader: ChunkReader;
  kit: RecoveryKit;
  /** The keyring as it was when the newest one was stored, in a process of its own. Started when first asked for. */
  keyring(): Promise<{ keys: KeyClient; sealer: FieldSealer }>;
  close(): Promise<void>;
}

interface KitOptions {
  target: TargetConfig;
  kit: string;
}

/** What the repository warns of is told on stderr. @throws HoldfastError `no_repository`, `wrong_key`, `integrity_failure` */
export async function openKitRepository(options: KitOptions, output: Output): Promise<KitRepository> {
  const kit = await readWholeKit(options.kit);
  const scratch = await mkdtemp(join(tmpdir(), 'holdfast-'));
  const closing: (() => Promise<void>)[] = [() => rm(scratch, { recursive: true, force: true })];
  const close = async () => {
    for (const end of closing.splice(0).reverse()) await end();
  };
  try {
    const repository = await openRepository({
      target: options.target,
      keys: {
        identity: kit.ageIdentity,
        repositoryId: kit.repositoryId,
        trustRoot: Buffer.from(kit.trustRoot, 'base64'),
      },
      cataloguePath: join(scratch, 'catalogue.sqlite'),
    });
    closing.push(() => repository.close());
    for (const warning of repository.warnings) output.note(`! ${warning.message}`);
    const { target, keys, catalogue } = repository;
    const reader = await openChunkReader({ target: target.config, generations: keys.generations, catalogue });
    closing.push(() => reader.close());
    let keyring: Promise<{ keys: KeyClient; sealer: FieldSealer }> | undefined;
    const start = () => (keyring ??= startKeyring(repository, kit, scratch, closing));
    return { repository, reader, kit, keyring: start, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startKeyring(
  repository: Repository,
  kit: RecoveryKit,
  directory: string,
  closing: (() => Promise<void>)[],
): Promise<{ keys: KeyClient; sealer: FieldSealer }> {
  const signingKeys = repository.keys.generations.flatMap((generation) => [...generation.signingKeys]);
  const reader = { repositoryId: repository.id, signingKeys };
  const { bases, additions } = newestKeyringNames(repository.keyringObjects());
  const plaintexts: Buffer[] = [];
  for (const name of [...bases, ...additions]) {
    const stored = await repository.target.read(name);
    plaintexts.push(await openKeyringObject(stored, [kit.ageIdentity], { ...reader, name }));
  }
  if (plaintexts.length === 0) {
    throw new HoldfastError('integrity_failure', 'The repository holds no keyring that this kit opens', {
      hint: 'Without it files stay encrypted. Try another target.',
    });
  }
  const scratchKeyd = await startScratchKeyd({ directory, plaintexts, reader });
  closing.push(() => scratchKeyd.stop());
  const keys = await connectKeyd({
    socketPath: scratchKeyd.socketPath,
    credentialFile: scratchKeyd.credentialFile,
    role: 'run',
  });
  const sealer = openSealer(keys);
  closing.push(async () => {
    sealer.close();
    await keys.close();
  });
  return { keys, sealer };
}
