/** What is taken for an update, and what is refused and why; with the real engine and real signatures. */
import { copyFile, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inspectBundle, refuseVersion } from '../../../server/appliance/host/updates/bundle.ts';
import { compareVersions, isVersion } from '../../../server/appliance/host/updates/version.ts';
import { HoldfastError } from '../../../server/lib/errors.ts';
import { startBundleMaker, type BundleMaker } from './bundle-maker.ts';

let maker: BundleMaker;
beforeAll(async () => {
  maker = await startBundleMaker();
});
afterAll(() => maker.dispose());

async function refusalOf(path: string): Promise<HoldfastError> {
  try {
    await inspectBundle(maker.reader, path);
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

async function changed(path: string, change: (copy: string) => Promise<void>): Promise<string> {
  const copy = `${path}.changed`;
  await copyFile(path, copy);
  await change(copy);
  return copy;
}

async function flip(path: string, position: number): Promise<void> {
  const handle = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, position);
  await handle.write(Buffer.from([(byte[0] ?? 0) ^ 0xff]), 0, 1, position);
  await handle.close();
}

describe('a file that is refused', () => {
  test('one that nobody signed', async () => {
    const refusal = await refusalOf(await maker.makeUnsigned());

    expect([refusal.code, refusal.message]).toEqual(['integrity_failure', 'This update is not signed']);
  });

  test('one that is signed by a key that the image does not know', async () => {
    const refusal = await refusalOf(await maker.make({ version: '2.0.0', signer: 'stranger' }));

    expect(refusal.message).toMatch(/signed by a key that this appliance does not know/);
    expect(refusal.hint).toMatch(/Nothing was changed/);
  });

  test.each([0.001, 0.3, 0.9, 0.97, 0.999])('one of which only %d is there', async (share) => {
    const whole = await maker.make({ version: '2.0.0' });
    const { length } = await readFile(whole);

    const refusal = await refusalOf(
      await changed(whole, (copy) => truncate(copy, Math.floor(length * share))),
    );

    expect(refusal.message).toBe('This update is cut short');
  });

  test('an empty one, and one that is no bundle', async () => {
    const empty = join(maker.folder, 'empty.raucb');
    const foreign = join(maker.folder, 'foreign.raucb');
    await writeFile(empty, '');
    await writeFile(foreign, 'PK\u0003\u0004 a zip file');

    expect((await refusalOf(empty)).message).toBe('This update is cut short');
    expect((await refusalOf(foreign)).message).toBe('This file is no update bundle');
  });

  test('one whose content was changed after it was signed', async () => {
    const plain = await maker.make({ version: '2.0.0', format: 'plain' });

    const refusal = await refusalOf(await changed(plain, (copy) => flip(copy, 200)));

    expect(refusal.message).toMatch(/signature of this update does not fit its content/);
  });

  test('one for another product, however well it is signed', async () => {
    const refusal = await refusalOf(await maker.make({ version: '2.0.0', compatible: 'toaster' }));

    expect([refusal.code, refusal.message]).toEqual([
      'invalid_input',
      'This update is for another product: toaster',
    ]);
  });

  test('one without a root image, or without a version', async () => {
    const noRoot = await maker.make({ version: '2.0.0', imageName: 'extra' });
    const noVersion = await maker.make({ version: 'newest' });

    for (const path of [noRoot, noVersion])
      expect((await refusalOf(path)).message).toMatch(/it is no system of Holdfast/);
  });
});

describe('a bundle of the publisher', () => {
  test.each(['plain', 'verity'] as const)('is read in format %s', async (format) => {
    const description = 'Holdfast 2.0.0, built today; needs 1.4.0';

    const facts = await inspectBundle(
      maker.reader,
      await maker.make({ version: '2.0.0', format, description }),
    );

    expect(facts).toMatchObject({ version: '2.0.0', compatible: 'holdfast', from: '1.4.0' });
    expect(facts.signedBy).toContain('publisher');
  });

  test('may say nothing about where it comes from', async () => {
    const facts = await inspectBundle(
      maker.reader,
      await maker.make({ version: '2.0.0', description: 'Nice' }),
    );

    expect(facts.from).toBeNull();
  });
});

describe('when the authority changes', () => {
  test('a release that knows both takes bundles of either; the one after it takes those of the new one alone', async () => {
    const old = await maker.make({ version: '2.0.0' });
    const renewed = await maker.make({ version: '3.0.0', signer: 'stranger' });
    const between = await maker.readerKnowing('publisher', 'stranger');
    const after = await maker.readerKnowing('stranger');

    await expect(inspectBundle(maker.reader, renewed)).rejects.toThrow(
      /a key that this appliance does not know/,
    );
    await expect(inspectBundle(between, old)).resolves.toMatchObject({ version: '2.0.0' });
    await expect(inspectBundle(between, renewed)).resolves.toMatchObject({ version: '3.0.0' });
    await expect(inspectBundle(after, renewed)).resolves.toMatchObject({ version: '3.0.0' });
    await expect(inspectBundle(after, old)).rejects.toThrow(/a key that this appliance does not know/);
  });
});

describe('over a running version', () => {
  const running = '1.4.0';

  test('an older one is refused, and the way back is named', () => {
    expect(refuseVersion({ version: '1.3.9', from: null }, { running })).toMatch(
      /older than 1\.4\.0.*way back/,
    );
    expect(refuseVersion({ version: '1.4.0-rc.1', from: null }, { running })).toMatch(/older/);
  });

  test('the same one is refused', () => {
    expect(refuseVersion({ version: '1.4.0', from: null }, { running })).toMatch(/runs already/);
  });

  test('one that needs a newer state is refused, and the step between is named', () => {
    expect(refuseVersion({ version: '3.0.0', from: '2.0.0' }, { running })).toMatch(
      /needs 2\.0\.0 or later first.*Install 2\.0\.0/,
    );
  });

  test('a newer one is taken', () => {
    expect(refuseVersion({ version: '1.4.1', from: '1.4.0' }, { running })).toBeUndefined();
  });
});

test('versions stand in the order of Semantic Versioning', () => {
  const order = [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0',
    '1.0.10',
    '1.2.0',
    '2.0.0',
  ];

  const shuffled = [...order].sort((a, b) => (a < b ? 1 : -1)).sort(compareVersions);

  expect(shuffled).toEqual(order);
  expect(['1.0', 'v1.0.0', '1.0.0 ', '', '1.0.0-'].some(isVersion)).toBe(false);
});
