/** The root file system as it is shipped: as small as its content, the same for the same content, with a hash tree behind it. */
import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError, capture, run } from './command.ts';
import type { VerityRoot } from './disk.ts';
import { partition, stableUuid } from './layout.ts';

const BLOCK = 4096;
const MIB = 1024 * 1024;

export interface RootImage {
  /** File system and hash tree in one file, for a slot. */
  path: string;
  verity: VerityRoot;
  /** Bytes of what is in the file system. */
  contentBytes: number;
}

/**
 * @param root - The provisioned system, mounted. It is not changed.
 * @param amend - Changes the copy that is packed: for tests that need another version.
 */
export async function makeRootImage(
  root: string,
  work: string,
  version: string,
  epoch: number,
  amend?: (tree: string) => void,
): Promise<RootImage> {
  const copy = join(work, 'root-copy');
  rmSync(copy, { recursive: true, force: true });
  mkdirSync(copy);
  await run('cp', ['-a', '--reflink=auto', `${root}/.`, copy]);
  rmSync(join(copy, 'lost+found'), { recursive: true, force: true });
  amend?.(copy);
  await run('find', [copy, '-newermt', `@${epoch}`, '-exec', 'touch', '-h', '-d', `@${epoch}`, '{}', '+']);
  const contentBytes = Number((await capture('du', ['-s', '--block-size=1', copy])).split('\t')[0]);
  const image = join(work, 'root.img');
  rmSync(image, { force: true });
  const id = stableUuid('root', version);
  // The slack is for what the file system itself needs; it is read-only for all its life.
  const bytes = Math.ceil((contentBytes * 1.06 + 24 * MIB) / MIB) * MIB;
  await run(
    'mke2fs',
    [
      ...[
        '-q',
        '-t',
        'ext4',
        '-O',
        '^has_journal,^metadata_csum_seed,^orphan_file',
        '-m',
        '0',
        '-L',
        'holdfast',
        '-U',
        id,
      ],
      ...['-E', `hash_seed=${id}`, '-d', copy, image, `${bytes / 1024}k`],
    ],
    { env: { E2FSPROGS_FAKE_TIME: String(epoch) } },
  );
  rmSync(copy, { recursive: true, force: true });
  const verity = await addHashTree(image, work, version);
  if (statSync(image).size > partition('root-a').sizeBytes)
    throw new BuildError('The root does not fit into its slot');
  return { path: image, verity, contentBytes };
}

async function addHashTree(image: string, work: string, version: string): Promise<VerityRoot> {
  const tree = join(work, 'root.tree');
  rmSync(tree, { force: true });
  const hashOffset = statSync(image).size;
  const salt = stableUuid('salt', version).replaceAll('-', '');
  const said = await capture('veritysetup', [
    ...['format', `--data-block-size=${BLOCK}`, `--hash-block-size=${BLOCK}`, `--salt=${salt}`],
    ...[`--uuid=${stableUuid('verity', version)}`, image, tree],
  ]);
  const rootHash = /Root hash:\s+([0-9a-f]{64})/.exec(said)?.[1];
  if (rootHash === undefined) throw new BuildError('veritysetup named no root hash');
  appendFileSync(image, readFileSync(tree));
  truncateSync(image, Math.ceil(statSync(image).size / MIB) * MIB);
  rmSync(tree);
  return { rootHash, hashOffset };
}

/** Lists that say what is in the image, copied out beside it. */
export function copyLists(root: string, out: string): void {
  cpSync(join(root, 'usr/share/holdfast/packages.tsv'), join(out, 'packages.tsv'));
}
