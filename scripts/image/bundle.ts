/** The update bundle: the root slot's image in RAUC's verity format, signed. */
import { cpSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './command.ts';
import type { RootImage } from './root.ts';
import type { SigningKeys } from './signing.ts';

export interface BundleFacts {
  version: string;
  commit: string;
  epoch: number;
  /** Of zstd; 9 when absent. */
  compressionLevel?: number;
}

export async function makeBundle(
  image: RootImage,
  facts: BundleFacts,
  keys: SigningKeys,
  place: { project: string; work: string; output: string },
): Promise<void> {
  const content = join(place.work, 'bundle');
  rmSync(content, { recursive: true, force: true });
  mkdirSync(content);
  linkSync(image.path, join(content, 'root.img'));
  const hook = readFileSync(join(place.project, 'packer', 'bundle', 'hook.sh'), 'utf8')
    .replaceAll('@ROOT_HASH@', image.verity.rootHash)
    .replaceAll('@HASH_OFFSET@', String(image.verity.hashOffset));
  writeFileSync(join(content, 'hook.sh'), hook, { mode: 0o755 });
  writeFileSync(
    join(content, 'manifest.raucm'),
    [
      '[update]',
      'compatible=holdfast',
      `version=${facts.version}`,
      `build=${facts.commit}`,
      `description=Holdfast ${facts.version}, built ${new Date(facts.epoch * 1000).toISOString()}`,
      '',
      '[bundle]',
      'format=verity',
      '',
      '[hooks]',
      'filename=hook.sh',
      '',
      '[image.rootfs]',
      'filename=root.img',
      'hooks=pre-install;post-install',
      '',
    ].join('\n'),
  );
  rmSync(place.output, { force: true });
  await run('rauc', [
    ...['--cert', keys.certificate, '--key', keys.key, '--keyring', keys.keyring],
    ...[
      'bundle',
      `--mksquashfs-args=-comp zstd -Xcompression-level ${facts.compressionLevel ?? 9}`,
      content,
      place.output,
    ],
  ]);
  await run('rauc', ['--keyring', keys.keyring, 'info', place.output]);
  cpSync(join(content, 'manifest.raucm'), `${place.output}.manifest`);
  rmSync(content, { recursive: true, force: true });
}
