import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  generationOf,
  keyringFromObjects,
  openKeyringObject,
  openKeysObject,
} from '../../server/keys/index.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { claimWithKit, type KeydPlace, makeKeydPlace } from '../keys/keyd-place.ts';

const KEYD = join(import.meta.dirname, '..', '..', 'server', 'keyd.ts');
const CRASH_AT = join(import.meta.dirname, '..', 'helpers', 'crash-at.ts');

/** keyd as a process on the folder of a stopped place. @returns once it is ready, or has ended. */
async function startKeydProcess(place: KeydPlace, crashAt = '') {
  const child = startProcess(process.execPath, ['--import', CRASH_AT, KEYD], {
    env: childEnvironment({
      HOLDFAST_DATA: place.directory,
      HOLDFAST_LOG: 'error',
      HOLDFAST_TEST_CRASH_AT: crashAt,
    }),
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = endOf(child);
  const ready = new Promise((resolve) => child.once('message', resolve));
  await Promise.race([ready, ended]);
  return { child, ended, output: () => output };
}

describe('the process keyd', () => {
  it('on a keyring that another keyd serves ends with a reason', async () => {
    const place = await makeKeydPlace();

    const second = await startKeydProcess(place);

    expect((await second.ended).exitCode).toBe(1);
    expect(second.output()).toMatch(/Another process runs the keyring/);
    expect((await (await place.connect('server')).status()).keyCount).toBe(0);
  });

  it('stops in order when it is told to, and when its supervisor is gone', async () => {
    const place = await makeKeydPlace();
    await place.stop();

    const told = await startKeydProcess(place);
    told.child.kill('SIGTERM');
    expect(await told.ended).toMatchObject({ exitCode: 0 });

    const left = await startKeydProcess(place);
    left.child.disconnect();
    expect(await left.ended).toMatchObject({ exitCode: 0 });
  });

  it.each(['keyring.published.written:1', 'keyring.published.renamed:1', 'keyring.published.synced:1'])(
    'killed at %s composes the keyring whole when it is asked again',
    async (crashAt) => {
      const place = await makeKeydPlace();
      const kit = await claimWithKit(await place.connect('server'));
      await place.stop();
      const { child, ended } = await startKeydProcess(place, crashAt);
      const server = await place.connect('server');
      const worker = await place.connect('worker');
      const key = await server.createSubjectKey(null);
      await expect(worker.keyringObjects([])).rejects.toMatchObject({ code: 'unavailable' });
      expect(await ended).toMatchObject({ signal: 'SIGKILL' });
      expect(child.pid).toBeDefined();

      await place.start();
      const { bytes } = await worker.keysObject();
      const statement = await openKeysObject(bytes, [kit.identity], kit);
      const reader = {
        repositoryId: kit.repositoryId,
        signingKeys: generationOf(statement, false).signingKeys,
      };
      const { epoch, objects } = await worker.keyringObjects([]);
      const plaintexts = await Promise.all(
        objects.map(({ name, bytes: stored }) =>
          openKeyringObject(stored, [kit.identity], { ...reader, name }),
        ),
      );

      expect(epoch).toBe(2);
      expect([...keyringFromObjects(plaintexts, reader).keys.keys()]).toEqual([key.id]);
    },
  );

  it.each([1, 2, 3, 4, 5, 6])(
    'killed at step %i of a claim leaves a repository that can still be claimed',
    async (hit) => {
      const place = await makeKeydPlace();
      await place.stop();
      const { child, ended } = await startKeydProcess(
        place,
        `keyring.log.${hit % 2 ? 'written' : 'synced'}:${Math.ceil(hit / 2)}`,
      );
      const first = await claimWithKit(await place.connect('server')).catch((error: unknown) => error);
      child.kill('SIGKILL');
      await ended;
      await place.start();
      const server = await place.connect('server');
      const { claimed } = (await server.status()).repository;
      const kit = claimed ? undefined : await claimWithKit(server);

      const { repository } = await server.status();
      expect(repository.claimed).toBe(true);
      expect(repository.kits).toHaveLength(1);
      expect(first).toBeDefined();
      if (kit) expect(repository.kits[0]?.id).toBe(kit.id);
    },
  );
});
