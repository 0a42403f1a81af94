import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type FieldContext, type FieldSealer, openSealer } from '../../server/keys/index.ts';
import { type KeydPlace, makeKeydPlace, workspaceId } from './keyd-place.ts';

const context: FieldContext = { type: 'node-name', workspaceId, subjectId: '', objectId: 'o', version: '' };

async function makeSealer(place: KeydPlace): Promise<FieldSealer> {
  const sealer = openSealer(await place.connect('server'));
  onTestFinished(sealer.close);
  return sealer;
}

/** Waits until `act` fails. @returns how long it went on working, ms, and the error. */
async function untilItFails(act: () => Promise<unknown>): Promise<{ afterMs: number; error: unknown }> {
  const start = performance.now();
  for (;;) {
    const error = await act().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    const afterMs = performance.now() - start;
    if (error !== undefined || afterMs > 10_000) return { afterMs, error };
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('keys in keyd', () => {
  it('a key that does not exist, or an id that is none, is refused', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');

    await expect(server.describeKey(randomUUID())).rejects.toMatchObject({ code: 'not_found' });
    await expect(server.describeKey('../root.key')).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(server.createSubjectKey(randomUUID())).rejects.toMatchObject({ code: 'not_found' });
    await expect(server.monthlyKey(randomUUID())).rejects.toMatchObject({ code: 'not_found' });
  });

  it('a disabled key stops working in under a second for a sealer that has it cached', async () => {
    const place = await makeKeydPlace();
    const sealer = await makeSealer(place);
    const admin = await place.connect('server');
    const { id } = await admin.createWorkspaceKey(workspaceId);
    const sealed = await sealer.sealName(id, context, 'name');

    await admin.disableKey(id);
    const { afterMs, error } = await untilItFails(() => sealer.openName(id, context, sealed));

    expect(error).toMatchObject({ code: 'key_disabled' });
    expect(afterMs).toBeLessThan(1_000);
    await admin.enableKey(id);
    expect(await sealer.openName(id, context, sealed)).toBe('name');
  });

  it('cached keys stop working in about a second when keyd is gone', async () => {
    const place = await makeKeydPlace();
    const sealer = await makeSealer(place);
    const admin = await place.connect('server');
    const { id } = await admin.createWorkspaceKey(workspaceId);
    const sealed = await sealer.sealName(id, context, 'name');

    await place.stop();
    const { afterMs, error } = await untilItFails(() => sealer.openName(id, context, sealed));

    expect(error).toMatchObject({ code: 'unavailable' });
    // The attempt to reach keyd again takes half a second in this test.
    expect(afterMs).toBeLessThan(2_000);
    await place.start();
    expect(await sealer.openName(id, context, sealed)).toBe('name');
  });

  it('disabling a workspace key stops every subject key below it', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');
    const workspace = await server.createWorkspaceKey(workspaceId);
    const subject = await server.createSubjectKey(workspaceId);

    await server.disableKey(workspace.id);

    expect((await server.describeKey(subject.id)).state).toBe('disabled');
    const [derived] = await server.deriveKeys([{ keyId: subject.id, purpose: 'wrap' }]);
    expect(derived).toMatchObject({ code: 'key_disabled' });
    await expect(server.createSubjectKey(workspaceId)).rejects.toMatchObject({ code: 'key_disabled' });
    await expect(server.monthlyKey(workspaceId)).rejects.toMatchObject({ code: 'key_disabled' });
  });

  it('a disabled key stays disabled when keyd starts again', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');
    const { id } = await server.createSubjectKey(null);
    await server.disableKey(id);
    await server.disableKey(id);
    await place.stop();
    await place.start();

    expect((await server.describeKey(id)).state).toBe('disabled');
  });

  it('enabling and disabling is idempotent', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');
    const { id } = await server.createSubjectKey(null);

    expect((await server.enableKey(id)).state).toBe('enabled');
    expect((await server.disableKey(id)).state).toBe('disabled');
    expect((await server.disableKey(id)).state).toBe('disabled');
    expect((await server.enableKey(id)).state).toBe('enabled');
  });

  it('of many values one that cannot be opened does not take the others with it', async () => {
    const place = await makeKeydPlace();
    const sealer = await makeSealer(place);
    const server = await place.connect('server');
    const [first, second] = [await server.createSubjectKey(null), await server.createSubjectKey(null)];
    const request = async (keyId: string) => ({
      keyId,
      purpose: 'person' as const,
      context,
      sealed: await sealer.sealPerson(keyId, context, 'ada'),
    });
    const requests = [await request(first.id), await request(second.id)];
    await server.disableKey(first.id);
    await untilItFails(() => sealer.openPerson(first.id, context, requests[0]?.sealed ?? Buffer.alloc(0)));

    const [refused, opened] = await sealer.tryOpen(requests);

    expect(refused).toMatchObject({ code: 'key_disabled' });
    expect(String(opened)).toBe('ada');
    await expect(sealer.open(requests)).rejects.toMatchObject({ code: 'key_disabled' });
  });

  it('a workspace has one key, a month has one, the appliance has one, also when asked at once', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');
    const ids = async (make: () => Promise<{ id: string }>) =>
      new Set((await Promise.all(Array.from({ length: 20 }, make))).map((key) => key.id)).size;

    expect(await ids(() => server.createWorkspaceKey(workspaceId))).toBe(1);
    expect(await ids(() => server.monthlyKey(workspaceId))).toBe(1);
    expect(await ids(() => server.applianceKey())).toBe(1);
    const { id } = await server.monthlyKey(workspaceId);
    place.clock.offsetMs = 32 * 24 * 3_600_000;
    const later = await server.monthlyKey(workspaceId).catch((error: unknown) => error);
    expect(later).not.toMatchObject({ id });
  });

  it('a file key wrapped for one version opens for no other', async () => {
    const place = await makeKeydPlace();
    const sealer = await makeSealer(place);
    const server = await place.connect('server');
    const { id: subjectKeyId } = await server.createSubjectKey(null);
    const file = { workspaceId, subjectKeyId, contentId: randomUUID(), version: 1 };
    const { key, wrapped } = await sealer.createFileKey(file);

    await expect(sealer.openFileKey({ ...file, version: 2 }, wrapped)).rejects.toMatchObject({
      code: 'integrity_failure',
    });
    expect((await sealer.openFileKey(file, wrapped)).equals(key)).toBe(true);
    await expect(sealer.requireUsable(subjectKeyId)).resolves.toBeUndefined();
  });

  it('a blind index is the same for every client, and another for another context', async () => {
    const place = await makeKeydPlace();
    const [first, second] = [await makeSealer(place), await makeSealer(place)];
    const { id } = await (await place.connect('server')).applianceKey();

    const index = await first.blindIndex(id, 'user-email', 'ada@example.org');

    expect((await second.blindIndex(id, 'user-email', 'ada@example.org')).equals(index)).toBe(true);
    expect((await second.blindIndex(id, 'other', 'ada@example.org')).equals(index)).toBe(false);
  });
});
