/** Another version of the image that was built, as an update bundle: the same system with changes, signed by the same authority. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { makeBundle } from '../../scripts/image/bundle.ts';
import { logTo } from '../../scripts/image/command.ts';
import { withRoot } from '../../scripts/image/packer.ts';
import { makeRootImage } from '../../scripts/image/root.ts';
import { openSigningKeys } from '../../scripts/image/signing.ts';
import { must } from './machine.ts';

const project = resolve(import.meta.dirname, '..', '..');

export interface ReleaseOptions {
  /** The image, qcow2. */
  image: string;
  /** Where it was built. */
  imageWork: string;
  folder: string;
  version: string;
  /** What is different in it, beside its version; gets the folder of the application. */
  change: (application: string) => void;
}

/** @returns the bundle's file. */
export async function makeRelease(options: ReleaseOptions): Promise<string> {
  const { folder, version } = options;
  logTo(join(folder, `release-${version}.log`));
  const raw = join(folder, 'release.raw');
  const epoch = Math.floor(Date.now() / 1_000);
  await must('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', options.image, raw]);
  const image = await withRoot(raw, folder, (root) =>
    makeRootImage(root, folder, version, epoch, (tree) => {
      const application = join(tree, 'opt/holdfast');
      for (const file of [join(tree, 'etc/holdfast/image.json'), join(application, 'package.json')]) {
        const content = JSON.parse(readFileSync(file, 'utf8')) as object;
        writeFileSync(file, JSON.stringify({ ...content, version }));
      }
      options.change(application);
    }),
  );
  rmSync(raw);
  const keys = await openSigningKeys(
    { key: undefined, certificate: undefined, keyring: undefined },
    options.imageWork,
  );
  const output = join(folder, `holdfast-${version}.raucb`);
  const facts = { version, commit: 'test', epoch, compressionLevel: 1 };
  await makeBundle(image, facts, keys, { project, work: folder, output });
  rmSync(image.path);
  return output;
}
