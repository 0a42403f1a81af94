import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openKeyringFile, rootKeyFile, rootKeyPath } from '../../server/keys/index.ts';
import { decodeLog } from '../../server/keys/keyring/log.ts';
import { openBlock, unwrapEpochKey } from '../../server/keys/keyring/root-key.ts';
import { contentOf, makeKey, makeKeyringDirectory, openKeyring, put } from './keyring-place.ts';

/** A closed keyring with a few keys, one of them in the base. */
async function makeKeyring() {
  const directory = await makeKeyringDirectory();
  const file = await openKeyring(directory);
  await file.append([put(makeKey())]);
  await file.rewrite();
  await file.append([put(makeKey()), put(makeKey({ kind: 'workspace', workspaceId: 'w', subject: null }))]);
  await file.append([put(makeKey())]);
  const content = contentOf(file.keyring());
  await file.close();
  return { directory, content, log: join(directory, 'log-2') };
}

/** Opening fails with `code` and changes nothing. */
async function expectRefused(directory: string, code: string): Promise<void> {
  const before = await snapshot(directory);
  await expect(
    openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) }),
  ).rejects.toMatchObject({ code, hint: expect.any(String) as string });
  expect(await snapshot(directory)).toEqual(before);
}

async function snapshot(directory: string): Promise<Record<string, string>> {
  const names = (await readdir(directory)).filter((name) => !name.startsWith('lock')).sort();
  const entries = await Promise.all(
    names.map(async (name) => [name, (await readFile(join(directory, name))).toString('hex')]),
  );
  return Object.fromEntries(entries) as Record<string, string>;
}

/** Everything that the files of an epoch hold, decrypted with what lies beside them. */
async function readInClear(directory: string, epoch: number): Promise<string> {
  const root = await rootKeyFile(rootKeyPath(directory)).read();
  const wrapped = JSON.parse(await readFile(join(directory, `epoch-${epoch}.key`), 'utf8')) as {
    wrappedKey: string;
  };
  const key = unwrapEpochKey(root ?? Buffer.alloc(32), epoch, wrapped.wrappedKey);
  const base = await readFile(join(directory, `base-${epoch}`));
  const log = decodeLog(key, epoch, await readFile(join(directory, `log-${epoch}`)));
  return openBlock(key, ['holdfast/keyring-base/1', String(epoch)], base).toString() + log.records.join('');
}

describe('the keyring file', () => {
  it('a second process on the same keyring is refused', async () => {
    const directory = await makeKeyringDirectory();
    await openKeyring(directory);

    await expectRefused(directory, 'locked');
  });

  it('another root key is refused as the wrong key', async () => {
    const { directory } = await makeKeyring();
    const other = await makeKeyring();
    await writeFile(rootKeyPath(directory), await readFile(rootKeyPath(other.directory)));

    await expectRefused(directory, 'wrong_key');
  });

  it('a missing root key is not replaced by a new one', async () => {
    const { directory } = await makeKeyring();
    await rm(rootKeyPath(directory));

    await expectRefused(directory, 'wrong_key');
  });

  it('a keyring of a newer format is refused', async () => {
    const { directory } = await makeKeyring();
    const current = JSON.parse(await readFile(join(directory, 'current'), 'utf8')) as object;
    await writeFile(join(directory, 'current'), JSON.stringify({ ...current, format: 2 }));

    await expectRefused(directory, 'wrong_state');
  });

  it.each(['current', 'epoch-2.key', 'base-2', 'log-2'])(
    'a missing %s is a loss, never a fresh start',
    async (name) => {
      const { directory } = await makeKeyring();
      await rm(join(directory, name));

      await expectRefused(directory, 'integrity_failure');
    },
  );

  it.each(['epoch-2.key', 'base-2'])('a flipped bit anywhere in %s is refused', async (name) => {
    const { directory } = await makeKeyring();
    const bytes = await readFile(join(directory, name));
    for (let index = 0; index < bytes.length; index += name === 'base-2' ? 13 : 7) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(index) ^ 4, index);
      await writeFile(join(directory, name), changed);
      const opened = await openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) }).catch(
        (error: unknown) => error,
      );
      // A bit of the key file's own punctuation may not matter; a wrong key never opens.
      if (!(opened instanceof Error)) await (opened as Awaited<ReturnType<typeof openKeyringFile>>).close();
      else expect(opened).toMatchObject({ code: 'integrity_failure' });
      if (name === 'base-2') expect(opened).toBeInstanceOf(Error);
    }
  });

  it('a flipped bit anywhere in the log is refused, also in its last record', async () => {
    const { directory, log } = await makeKeyring();
    const bytes = await readFile(log);
    for (let index = 0; index < bytes.length; index++) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(index) ^ 0x10, index);
      await writeFile(log, changed);
      await expect(
        openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) }),
      ).rejects.toMatchObject({ code: 'integrity_failure' });
    }
  });

  it('records exchanged within the log are refused', async () => {
    const { directory, log } = await makeKeyring();
    const bytes = await readFile(log);
    const first = 8 + bytes.readUInt32BE(0);
    await writeFile(log, Buffer.concat([bytes.subarray(first), bytes.subarray(0, first)]));

    await expectRefused(directory, 'integrity_failure');
  });

  it('a log carried over from an earlier epoch is refused', async () => {
    const directory = await makeKeyringDirectory();
    const file = await openKeyring(directory);
    await file.append([put(makeKey())]);
    const old = await readFile(join(directory, 'log-1'));
    await file.rewrite();
    await file.close();
    await writeFile(join(directory, 'log-2'), old);

    await expectRefused(directory, 'integrity_failure');
  });

  it('a destruction that cannot be finished is refused, and finished by the next change', async () => {
    const directory = await makeKeyringDirectory();
    const file = await openKeyring(directory);
    const doomed = makeKey();
    await file.append([put(makeKey()), put(doomed)]);
    await mkdir(join(directory, 'base-2', 'in-the-way'), { recursive: true });

    await expect(file.append([{ kind: 'drop', id: doomed.id }])).rejects.toThrow();
    expect(file.keyring().keys.size).toBe(1);
    expect(file.epoch()).toBe(1);

    await rm(join(directory, 'base-2'), { recursive: true });
    await file.append([put(makeKey())]);
    expect(file.epoch()).toBe(2);
    expect(file.keyring().keys.has(doomed.id)).toBe(false);
    expect(file.keyring().keys.size).toBe(2);
  });

  it('every way to cut the last record short drops that record only, and says so', async () => {
    const { directory, log, content } = await makeKeyring();
    const bytes = await readFile(log);
    const first = 8 + bytes.readUInt32BE(0);
    for (const length of [first + 1, first + 7, first + 8, first + 40, bytes.length - 1]) {
      await writeFile(log, bytes);
      await truncate(log, length);

      const file = await openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) });

      expect(file.notices.join()).toMatch(/power loss/);
      expect(contentOf(file.keyring())).toHaveLength(content.length - 1);
      await file.append([put(makeKey())]);
      await file.close();
      const again = await openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) });
      expect(again.keyring().keys.size).toBe(content.length);
      expect(again.notices).toEqual([]);
      await again.close();
    }
  });

  it('a last record that power loss left as zeros is dropped', async () => {
    const { directory, log, content } = await makeKeyring();
    const bytes = await readFile(log);
    const first = 8 + bytes.readUInt32BE(0);
    for (const written of [0, 8, 200]) {
      await writeFile(
        log,
        Buffer.concat([bytes.subarray(0, first + written), Buffer.alloc(bytes.length - first - written)]),
      );

      const file = await openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) });

      expect(contentOf(file.keyring())).toHaveLength(content.length - 1);
      await file.close();
    }
  });

  it('what was appended is there after reopening, and a rewrite changes nothing of it', async () => {
    const { directory, content } = await makeKeyring();
    const file = await openKeyring(directory);

    expect(contentOf(file.keyring())).toEqual(content);
    await file.rewrite();
    await file.close();

    const again = await openKeyring(directory);
    expect(contentOf(again.keyring())).toEqual(content);
    expect(again.notices).toEqual([]);
  });

  it('a destroyed key is in no file that the old epoch key could open', async () => {
    const directory = await makeKeyringDirectory();
    const file = await openKeyring(directory);
    const doomed = makeKey();
    await file.append([put(makeKey()), put(doomed)]);
    const material = Buffer.from(doomed.versions[0]?.material ?? '');

    await file.append([{ kind: 'drop', id: doomed.id }]);

    expect(file.epoch()).toBe(2);
    expect((await readdir(directory)).filter((name) => /-1(\.key)?$/.test(name))).toEqual([]);
    expect(doomed.versions[0]?.material.equals(Buffer.alloc(32))).toBe(true);
    expect(material.equals(Buffer.alloc(32))).toBe(false);
    await file.close();
    const again = await openKeyring(directory);
    expect(again.keyring().keys.has(doomed.id)).toBe(false);
    expect(again.keyring().keys.size).toBe(1);
  });

  it('a key destroyed while the base without another one is written is in no file either', async () => {
    const directory = await makeKeyringDirectory();
    const file = await openKeyring(directory);
    const [first, second, kept] = [makeKey(), makeKey(), makeKey()];
    await file.append([first, second, kept].map(put));
    const materialOf = (key: typeof kept) => key.versions[0]?.material.toString('base64') ?? '';
    const [secondText, keptText] = [materialOf(second), materialOf(kept)];
    const hooks = globalThis as Record<symbol, unknown>;
    const hook = Symbol.for('holdfast.crashPoint');
    onTestFinished(() => {
      delete hooks[hook];
    });
    let late: Promise<void> | undefined;
    hooks[hook] = (reached: string) => {
      if (reached === 'keyring.base.written') late ??= file.append([{ kind: 'drop', id: second.id }]);
    };

    await file.append([{ kind: 'drop', id: first.id }]);
    await late;
    const epoch = file.epoch();
    await file.close();

    const text = await readInClear(directory, epoch);
    expect(late).toBeDefined();
    expect(text).not.toContain(secondText);
    expect(text).toContain(keptText);
  });

  it('everything in the directory is readable by its owner alone', async () => {
    const { directory } = await makeKeyring();

    for (const name of (await readdir(directory)).filter((entry) => !entry.startsWith('lock'))) {
      expect((await stat(join(directory, name))).mode & 0o077).toBe(0);
    }
  });

  it('many changes at once share their writes to disk, and thousands of keys stay quick', async () => {
    const directory = await makeKeyringDirectory();
    const file = await openKeyring(directory);
    const keys = Array.from({ length: 20_000 }, () => makeKey());

    await Promise.all(keys.map((key) => file.append([put(key)])));
    await file.rewrite();
    await file.append([put(makeKey())]);
    await file.close();

    const again = await openKeyring(directory);
    expect(again.keyring().keys.size).toBe(20_001);
  }, 20_000);
});
