/** The end of the test identities, and kits that come after it. */
import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { describe, expect, it, vi } from 'vitest';
import {
  answerKitChallenge,
  decryptAge,
  generateAgeIdentity,
  openKeyringFile,
  rootKeyFile,
  rootKeyPath,
} from '../../server/keys/index.ts';
import { makeClaimed } from './keyd-place.ts';

describe('write-only use', () => {
  it('destroys the test identities of all generations, and has them in no file any more', async () => {
    const { server, place, kit, worker } = await makeClaimed();
    await server.rekeyRepository(1);
    const run = await place.connect('run');
    const runId = randomUUID();
    await server.lend(runId, null, { testIdentity: true });
    const identities = await run.testIdentities(runId);
    expect(identities).toHaveLength(2);
    await expect(server.destroyTestIdentities()).rejects.toMatchObject({ code: 'conflict' });
    await run.close();

    const destroyed = await vi.waitFor(() => server.destroyTestIdentities());

    expect(destroyed).toMatchObject({
      ...{ writeOnly: true, generations: [{ testIdentity: false }, { testIdentity: false }] },
      identitiesDestroyedAt: expect.any(String) as string,
    });
    expect(await server.destroyTestIdentities()).toEqual(destroyed);
    for (const { bytes } of await worker.keysObjects()) {
      await expect(decryptAge(bytes, identities)).rejects.toMatchObject({ code: 'wrong_key' });
      expect((await decryptAge(bytes, [kit.identity])).length).toBeGreaterThan(0);
    }
    await place.stop();
    expect((await readdir(place.keyring)).filter((name) => name.startsWith('log-'))).toEqual(['log-2']);
    const file = await openKeyringFile({
      directory: place.keyring,
      rootKey: rootKeyFile(rootKeyPath(place.keyring)),
    });
    const held = JSON.stringify(file.keyring().repository);
    await file.close();
    for (const identity of identities) expect(held).not.toContain(identity);
  });

  it('gives a kit that comes after write-only use what it can, and says what it lacks', async () => {
    const { server, worker, kit } = await makeClaimed();
    await server.destroyTestIdentities();
    await server.rekeyRepository(1, { testIdentity: true });
    const pair = await generateAgeIdentity();
    const { kitId, challenge } = await server.beginKit(pair.recipient);

    await server.proveKit(kitId, await answerKitChallenge(kitId, pair.identity, challenge));

    const { repository } = await server.status();
    expect(repository.kits.map((one) => one.lacks)).toEqual([undefined, [1]]);
    const [first, second] = await worker.keysObjects();
    if (first === undefined || second === undefined) throw new Error('there are two generations');
    await expect(decryptAge(first.bytes, [pair.identity])).rejects.toMatchObject({ code: 'wrong_key' });
    for (const { identity } of [kit, pair]) await decryptAge(second.bytes, [identity]);
    await server.retireKit(kitId);
    expect((await worker.keysObjects())[0]?.name).toBe(first.name);
  });
});
