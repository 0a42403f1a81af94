/** Makes update bundles with the real engine: signed by keys of the test's own. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRauc, type BundleReader } from '../../../server/appliance/host/updates/rauc.ts';
import { runProcess } from '../../../server/lib/spawn.ts';
import { tool, toolEnvironment } from '../../helpers/tools.ts';

export interface BundleParts {
  version: string;
  compatible?: string;
  description?: string;
  format?: 'plain' | 'verity';
  /** Whose key signs: `publisher` is the one that the reader knows. */
  signer?: 'publisher' | 'stranger';
  content?: Buffer;
  imageName?: string;
}

export interface BundleMaker {
  folder: string;
  keyring: string;
  /** Reads bundles, knowing the publisher's certificate. */
  reader: BundleReader;
  /** A reader that knows the certificates of these signers. */
  readerKnowing(...signers: ('publisher' | 'stranger')[]): Promise<BundleReader>;
  make(parts: BundleParts): Promise<string>;
  /** The same content, signed by nobody. */
  makeUnsigned(): Promise<string>;
  dispose(): Promise<void>;
}

export async function startBundleMaker(): Promise<BundleMaker> {
  tool('mksquashfs');
  const env = toolEnvironment();
  const command = tool('rauc').path;
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-bundles-'));
  const must = async (program: string, args: string[]) => {
    const ended = await runProcess(program, args, { timeoutMs: 60_000, env, cwd: folder });
    if (ended.exitCode !== 0) throw new Error(`${program}: ${ended.stderr}`);
  };
  for (const name of ['publisher', 'stranger']) {
    await must(tool('openssl').path, [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30', '-subj', `/CN=${name}`],
      ...['-keyout', `${name}.key`, '-out', `${name}.crt`],
    ]);
  }
  const keyring = join(folder, 'publisher.crt');
  let number = 0;
  const fill = async (parts: BundleParts): Promise<string> => {
    const content = join(folder, `content-${String(++number)}`);
    await mkdir(content);
    const imageName = parts.imageName ?? 'rootfs';
    await writeFile(join(content, `${imageName}.ext4`), parts.content ?? randomBytes(70_000));
    const lines = ['[update]', `compatible=${parts.compatible ?? 'holdfast'}`, `version=${parts.version}`];
    if (parts.description !== undefined) lines.push(`description=${parts.description}`);
    lines.push(
      '[bundle]',
      `format=${parts.format ?? 'verity'}`,
      `[image.${imageName}]`,
      `filename=${imageName}.ext4`,
    );
    await writeFile(join(content, 'manifest.raucm'), `${lines.join('\n')}\n`);
    return content;
  };
  return {
    folder,
    keyring,
    reader: createRauc({ keyring, command, env }),
    async readerKnowing(...signers) {
      const known = join(folder, `known-${String(++number)}.pem`);
      const certificates = await Promise.all(signers.map((name) => readFile(join(folder, `${name}.crt`))));
      await writeFile(known, Buffer.concat(certificates));
      return createRauc({ keyring: known, command, env });
    },
    async make(parts) {
      const content = await fill(parts);
      const path = join(folder, `bundle-${String(number)}.raucb`);
      const signer = parts.signer ?? 'publisher';
      await must(command, ['bundle', `--cert=${signer}.crt`, `--key=${signer}.key`, content, path]);
      return path;
    },
    async makeUnsigned() {
      const content = await fill({ version: '2.0.0' });
      const path = join(folder, `unsigned-${String(number)}.raucb`);
      await must(tool('mksquashfs').path, [content, path, '-quiet', '-no-progress']);
      return path;
    },
    dispose: () => rm(folder, { recursive: true, force: true }),
  };
}
