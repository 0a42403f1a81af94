/**
 * Looks at a file that is said to be an update, and says in words why it is not taken. Nothing in it is believed before the
 * engine has found its signature good against the certificates in this image.
 */
import { open } from 'node:fs/promises';
import { HoldfastError } from '../../../lib/errors.ts';
import type { BundleManifest, BundleReader } from './rauc.ts';
import { compareVersions, isVersion } from './version.ts';

/** What a bundle must be meant for. */
export const COMPATIBLE = 'holdfast';
const ROOT_IMAGE = 'rootfs';

export interface BundleFacts extends BundleManifest {
  /** Oldest version that may install it directly. */
  from: string | null;
}

/** @throws HoldfastError `integrity_failure` for a file that is not whole or not signed by a known key, `invalid_input` for another product. */
export async function inspectBundle(reader: BundleReader, path: string): Promise<BundleFacts> {
  const shape = await shapeOf(path);
  if (shape === 'foreign') {
    throw refusal('This file is no update bundle', 'Download the `.raucb` file of the release again.');
  }
  if (shape === 'short') throw truncated();
  const answer = await reader.info(path);
  if ('refused' in answer) throw explain(answer.refused, shape);
  const { manifest } = answer;
  if (manifest.compatible !== COMPATIBLE) {
    throw new HoldfastError(
      'invalid_input',
      `This update is for another product: ${manifest.compatible.slice(0, 64)}`,
      { hint: 'Take the bundle that is named for Holdfast. Nothing was changed.' },
    );
  }
  if (!isVersion(manifest.version) || !manifest.images.includes(ROOT_IMAGE)) {
    throw refusal(
      'This bundle is signed, but it is no system of Holdfast',
      'It has no version or no root image.',
    );
  }
  return { ...manifest, from: readFrom(manifest.description) };
}

export interface InstallRules {
  /** Version that runs. */
  running: string;
}

/** @returns why a bundle may not be installed over what runs; undefined when it may. */
export function refuseVersion(
  bundle: { version: string; from: string | null },
  rules: InstallRules,
): string | undefined {
  const order = compareVersions(bundle.version, rules.running);
  if (order === 0) return `Version ${bundle.version} runs already.`;
  if (order < 0) {
    return `Version ${bundle.version} is older than ${rules.running}, which runs. An older version comes back only by the way back, to the system in the other slot.`;
  }
  if (bundle.from !== null && compareVersions(rules.running, bundle.from) < 0) {
    return `Version ${bundle.version} needs ${bundle.from} or later first; ${rules.running} runs. Install ${bundle.from}, then this one.`;
  }
  return undefined;
}

const NEEDS = /(?:^|; )needs (\S{5,64})$/;

/** Of the publisher's note only its end matters here: `; needs 1.4.0`. */
function readFrom(description: string): string | null {
  const needs = NEEDS.exec(description)?.[1];
  return needs !== undefined && isVersion(needs) ? needs : null;
}

type Shape = 'foreign' | 'short' | 'bare' | 'whole';

/**
 * A bundle is a squashfs image and, behind it, what signs it. The superblock (squashfs 4.0: magic, and the length at byte 40)
 * tells where the image must end. `bare`: behind it is nothing but its own
 * padding to 4 KiB.
 */
async function shapeOf(path: string): Promise<Shape> {
  const handle = await open(path, 'r');
  try {
    const block = Buffer.alloc(96);
    const { bytesRead } = await handle.read(block, 0, 96, 0);
    if (bytesRead < 4 || block.toString('latin1', 0, 4) !== 'hsqs')
      return bytesRead === 0 ? 'short' : 'foreign';
    if (bytesRead < 96) return 'short';
    const { size } = await handle.stat();
    const length = block.readBigUInt64LE(40);
    if (BigInt(size) < length) return 'short';
    const padded = ((length + 4095n) / 4096n) * 4096n;
    return BigInt(size) === length || BigInt(size) === padded ? 'bare' : 'whole';
  } finally {
    await handle.close();
  }
}

function explain(words: string, shape: Shape): HoldfastError {
  if (shape === 'bare') {
    return refusal(
      'This update is not signed',
      'Take the bundle of a release. An update that nobody signed is never installed.',
    );
  }
  if (/invalid bundle format|seek to end|failed to (map|read)/i.test(words)) return truncated();
  if (/self.signed|unable to get (local )?issuer|certificate|signer/i.test(words)) {
    return refusal(
      /expired|not yet valid/i.test(words)
        ? 'The certificate that signed this update is not valid at the time that this machine has'
        : 'This update is signed by a key that this appliance does not know',
      /expired|not yet valid/i.test(words)
        ? 'Check the clock of the appliance. If it is right, take a newer bundle.'
        : 'Take it from the publisher of this appliance. If the key was changed, install the release that brings the new one first.',
      words,
    );
  }
  return refusal(
    'The signature of this update does not fit its content',
    'It was changed or damaged. Download it again; if it happens twice, ask the publisher.',
    words,
  );
}

function truncated(): HoldfastError {
  return refusal('This update is cut short', 'Download or upload it again.');
}

function refusal(message: string, hint: string, detail?: string): HoldfastError {
  return new HoldfastError('integrity_failure', message, {
    hint: `${hint} Nothing was changed.`,
    ...(detail === undefined ? {} : { detail }),
  });
}
