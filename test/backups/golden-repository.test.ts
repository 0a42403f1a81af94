/**
 * A whole repository that was written once and must be readable for ever, with its kit, and the short vectors of FORMAT.md.
 * `UPDATE_GOLDEN=1` writes it anew; that is right only together with a new format.
 */
import { createCipheriv, createHash, createHmac, hkdfSync } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { encodePackIndex } from '../../server/backups/pipeline/pack.ts';
import { openRepository } from '../../server/backups/repository/open-repository.ts';
import { verifyRepository } from '../../server/backups/repository/verify-repository.ts';
import { kitToJson, makeRecoveryKit, openField, parseRecoveryKit } from '../../server/keys/index.ts';
import { createPlace, readFiles, takeSnapshot } from './repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const GOLDEN = join(import.meta.dirname, '../golden/repository/tiny');
const FILES = { 'greeting.txt': Buffer.from('hello\n') };

const sha256 = (data: Uint8Array | string): Buffer => createHash('sha256').update(data).digest();

async function writeGolden(): Promise<void> {
  const place = await createPlace();
  const snapshot = await takeSnapshot(place, FILES);
  const { kit, statement, trustRoot } = place.local;
  const recoveryKit = makeRecoveryKit({
    kitId: kit.id,
    applianceName: 'Test vector',
    createdAt: '2026-01-01T00:00:00.000Z',
    repositoryId: statement.repositoryId,
    trustRoot: Buffer.from(trustRoot.publicKey).toString('base64'),
    ageIdentity: kit.identity,
    targets: [],
  });
  await rm(GOLDEN, { recursive: true, force: true });
  await cp(place.path, join(GOLDEN, 'target'), { recursive: true });
  await writeFile(join(GOLDEN, 'kit.json'), kitToJson(recoveryKit));
  const expected = {
    snapshot: snapshot.id,
    head: 2,
    files: Object.fromEntries(Object.entries(FILES).map(([name, data]) => [name, data.toString('base64')])),
  };
  await writeFile(join(GOLDEN, 'expected.json'), `${JSON.stringify(expected, null, 2)}\n`);
  await place.dispose();
}

let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'holdfast-golden-'));
});
afterEach(async () => {
  await rm(scratch, { recursive: true, force: true });
});

describe('the golden repository', () => {
  test('opens with its kit and holds what it should', async () => {
    if (process.env.UPDATE_GOLDEN === '1') await writeGolden();
    const { kit } = parseRecoveryKit(await readFile(join(GOLDEN, 'kit.json'), 'utf8'));
    const expected = JSON.parse(await readFile(join(GOLDEN, 'expected.json'), 'utf8')) as {
      snapshot: string;
      head: number;
      files: Record<string, string>;
    };
    if (kit === undefined) throw new Error('the golden kit is not whole');

    const repository = await openRepository({
      target: { kind: 'directory', path: join(GOLDEN, 'target') },
      keys: {
        identity: kit.ageIdentity,
        repositoryId: kit.repositoryId,
        trustRoot: Buffer.from(kit.trustRoot, 'base64'),
      },
      cataloguePath: join(scratch, 'catalogue.sqlite'),
    });

    expect(repository.warnings).toEqual([]);
    expect(repository.head?.number).toBe(expected.head);
    expect((await repository.findSnapshot('latest')).id).toBe(expected.snapshot);
    const files = await readFiles(repository, 'latest');
    expect(
      Object.fromEntries(Object.entries(files).map(([name, data]) => [name, data.toString('base64')])),
    ).toEqual(expected.files);
    expect(await verifyRepository(repository, { everyByte: true })).toMatchObject({ ok: true });
    await repository.close();
  });
});

describe('FORMAT.md', () => {
  test('gives vectors that our own code agrees with', async () => {
    const text = await readFile(join(import.meta.dirname, '../../server/backups/FORMAT.md'), 'utf8');

    expect(text).toContain(sha256('hello').toString('hex'));
    expect(text).toContain(createHmac('sha256', Buffer.alloc(32)).update(sha256('hello')).digest('hex'));
    expect(text).toContain(sha256(Buffer.concat([sha256('hello'), sha256('world')])).toString('hex'));
    expect(text).toContain(encodePackIndex('data', []).toString('hex'));

    const key = Buffer.from(hkdfSync('sha256', Buffer.alloc(32, 1), '', 'holdfast/names/1', 32));
    const nonce = Buffer.alloc(12, 2);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(Buffer.from('["holdfast/field/1","node-name","w","","n",""]'));
    const body = Buffer.concat([cipher.update('name'), cipher.final(), cipher.getAuthTag()]);
    const sealed = Buffer.concat([Buffer.from([1, 0, 0, 0, 1]), nonce, body]);
    expect(text).toContain(sealed.toString('hex'));
    const context = { type: 'node-name', workspaceId: 'w', subjectId: '', objectId: 'n', version: '' };
    expect(openField([{ version: 1, key }], context, sealed).toString()).toBe('name');
  });
});
