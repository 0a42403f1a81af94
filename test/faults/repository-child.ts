/**
 * A child process that takes one snapshot (or forgets and prunes), to be killed on the way by `test/helpers/crash-at.ts`.
 * Arguments: folder of the place, what to do, seed of the files.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openRepository } from '../../server/backups/repository/open-repository.ts';
import { openWriter } from '../../server/backups/repository/writer.ts';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import { signStatement } from '../../server/keys/index.ts';
import type { RepositoryWriteKeys } from '../../server/backups/engine.ts';
import { bytesOf, storeFiles } from '../backups/repository-place.ts';
import { createHash } from 'node:crypto';

const [top = '', what = '', seed = '', nowMs = '0'] = process.argv.slice(2);

interface SavedKeys {
  repositoryId: string;
  trustRoot: string;
  generation: {
    generation: number;
    recipient: string;
    identity: string;
    chunkIdSecret: string;
    chunking: RepositoryWriteKeys['generations'][number]['chunking'];
  };
  signingKey: { id: string; publicKey: string; privateKey: string };
}

const saved = JSON.parse(readFileSync(join(top, 'keys.json'), 'utf8')) as SavedKeys;
const bytes = (text: string): Buffer => Buffer.from(text, 'base64');
const keys: RepositoryWriteKeys = {
  repositoryId: saved.repositoryId,
  trustRoot: bytes(saved.trustRoot),
  generations: [
    {
      ...saved.generation,
      chunkIdSecret: bytes(saved.generation.chunkIdSecret),
      signingKeys: [{ id: saved.signingKey.id, publicKey: bytes(saved.signingKey.publicKey) }],
    },
  ],
  lastHeadNumber: async () => '0',
  sign: async (statement) =>
    signStatement({ id: saved.signingKey.id, privateKey: bytes(saved.signingKey.privateKey) }, statement),
};
const clock = { now: () => new Date(Number(nowMs)), monotonicMs: () => 0 };

const target = await openTarget({ kind: 'directory', path: join(top, 'target') });
const repository = await openRepository({
  target: { ...target, now: async () => clock.now() },
  keys,
  cataloguePath: join(top, 'catalogue.sqlite'),
});
const writer = await openWriter(repository, { keys, holder: 'appliance-1', clock });

if (what === 'snapshot') {
  const files = { [`${seed}.bin`]: bytesOf(seed, 30_000), shared: bytesOf('shared', 9000) };
  const draft = await storeFiles(repository, writer, keys, files, clock);
  await writer.flush();
  const keyring = bytesOf(`keyring ${seed}`, 200);
  const epoch = String(Number(repository.head?.keyring?.epoch ?? 0) + 1);
  const hash = createHash('sha256').update(keyring).digest('hex');
  await writer.publishKeyring(`keyring/${epoch}-${hash}.age`, keyring);
  await writer.publishSnapshot({ ...draft, keyringEpoch: epoch });
  await writer.publishHead();
} else if (what === 'forget') {
  const [oldest] = repository.snapshotReferences;
  if (oldest !== undefined && repository.snapshotReferences.length > 1) await writer.forget([oldest.sha256]);
} else {
  await writer.prune();
}
await writer.release();
await repository.close();
process.stdout.write('done\n');
