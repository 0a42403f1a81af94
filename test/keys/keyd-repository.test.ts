import { createHash, randomUUID } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  answerKitChallenge,
  appendSignature,
  connectKeyd,
  generateAgeIdentity,
  generationOf,
  type KeyClient,
  keyringFromObjects,
  type KeyringReader,
  newestKeyringNames,
  openKeyringObject,
  openKeysObject,
  openRepositoryWriteKeys,
  openSealer,
  restoreKeyring,
  startScratchKeyd,
  verifySignature,
} from '../../server/keys/index.ts';
import { claimWithKit, type KeydPlace, makeClaimed, makeKeydPlace, workspaceId } from './keyd-place.ts';

type Kit = Awaited<ReturnType<typeof claimWithKit>>;

/** What a holder of the kit knows once it opened `keys/`. */
async function openWithKit(worker: KeyClient, kit: Pick<Kit, 'identity' | 'repositoryId' | 'trustRoot'>) {
  const { bytes } = await worker.keysObject();
  const statement = await openKeysObject(bytes, [kit.identity], kit);
  const reader: KeyringReader = {
    repositoryId: kit.repositoryId,
    signingKeys: generationOf(statement, false).signingKeys,
  };
  return { statement, reader };
}

async function openAll(objects: readonly { name: string; bytes: Buffer }[], kit: Kit, reader: KeyringReader) {
  const open = (object: { name: string; bytes: Buffer }) =>
    openKeyringObject(object.bytes, [kit.identity], { ...reader, name: object.name });
  return Promise.all(objects.map(open));
}

const head = (repositoryId: string, number: string, text = 'head') =>
  ({ type: 'head', repositoryId, number, sha256: createHash('sha256').update(text).digest('hex') }) as const;

describe('the claim of the repository', () => {
  it('is refused without a proven kit', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');

    await expect(server.claimRepository()).rejects.toMatchObject({ code: 'wrong_state' });
    await server.prepareRepository();
    await server.beginKit((await generateAgeIdentity()).recipient);
    await expect(server.claimRepository()).rejects.toMatchObject({ code: 'wrong_state' });
    expect((await server.status()).repository.claimed).toBe(false);
  });

  it('a wrong answer uses the challenge up and proves nothing', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');
    await server.prepareRepository();
    const pair = await generateAgeIdentity();
    const { kitId, challenge } = await server.beginKit(pair.recipient);

    await expect(server.proveKit(kitId, 'a'.repeat(64))).rejects.toMatchObject({ code: 'wrong_key' });
    const answer = await answerKitChallenge(kitId, pair.identity, challenge);
    await expect(server.proveKit(kitId, answer)).rejects.toMatchObject({ code: 'not_found' });
    expect((await server.status()).repository.kits).toEqual([]);
  });

  it('a challenge runs out', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');
    await server.prepareRepository();
    const pair = await generateAgeIdentity();
    const { kitId, challenge } = await server.beginKit(pair.recipient);
    const answer = await answerKitChallenge(kitId, pair.identity, challenge);

    const { monotonicMs } = place.clock;
    place.clock.monotonicMs = () => monotonicMs.call(place.clock) + 16 * 60_000;

    await expect(server.proveKit(kitId, answer)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('the secret key is not taken for a public one', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');
    await server.prepareRepository();

    await expect(server.beginKit((await generateAgeIdentity()).identity)).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });

  it('a prepared trust root and a proven kit survive a restart, and a kit proven later takes its place', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');
    const prepared = await server.prepareRepository();
    const kit = await claimWithKit(server);
    await place.stop();
    await place.start();

    expect(kit.repositoryId).toBe(prepared.repositoryId);
    expect((await server.prepareRepository()).trustRoot).toBe(prepared.trustRoot);
    const { repository } = await server.status();
    expect(repository).toMatchObject({ claimed: true, generation: 1, writeOnly: false });
    expect(repository.kits.map((known) => known.id)).toEqual([kit.id]);
    expect(await server.claimRepository()).toEqual(repository);
  });

  it('the kit opens the keys, and keyd has kept no identity that reads the packs', async () => {
    const { place, kit, worker } = await makeClaimed();

    const { statement } = await openWithKit(worker, kit);
    const keys = await openRepositoryWriteKeys(worker);

    expect(keys.generations[0]?.identity).toBeUndefined();
    expect(keys.generations[0]?.recipient).toBe(statement.recipient);
    expect(Buffer.from(keys.trustRoot).equals(kit.trustRoot)).toBe(true);
    await place.stop();
    const stored = await readFile(join(place.keyring, 'log-1'));
    expect(stored.includes(Buffer.from(statement.identity))).toBe(false);
  });

  it('a second kit is added by its own proof and opens keys and keyring', async () => {
    const { server, worker, kit } = await makeClaimed();
    await server.createWorkspaceKey(workspaceId);
    const before = await worker.keyringObjects([]);
    const pair = await generateAgeIdentity();
    const { kitId, challenge } = await server.beginKit(pair.recipient);
    await server.proveKit(kitId, await answerKitChallenge(kitId, pair.identity, challenge));

    const second = { ...kit, ...pair, id: kitId };
    const { statement, reader } = await openWithKit(worker, second);
    const after = await worker.keyringObjects(before.objects.map((object) => object.name));

    expect(statement.kits.map((known) => known.id)).toEqual([kit.id, kitId]);
    expect(after.epoch).toBe(before.epoch + 1);
    const keyring = keyringFromObjects(await openAll(after.objects, second, reader), reader);
    expect(keyring.keys.size).toBe(1);
  });

  it('in write-only use there is no test identity, and no second kit without a new generation', async () => {
    const { server, place } = await makeClaimed({ writeOnly: true });
    const run = await place.connect('run');
    const runId = randomUUID();
    await server.lend(runId, null, { testIdentity: true });
    await expect(run.testIdentities(runId)).rejects.toMatchObject({ code: 'needs_kit' });
    const pair = await generateAgeIdentity();
    const { kitId, challenge } = await server.beginKit(pair.recipient);

    const answer = await answerKitChallenge(kitId, pair.identity, challenge);
    await expect(server.proveKit(kitId, answer)).rejects.toMatchObject({ code: 'wrong_state' });
    expect((await server.status()).repository.kits).toHaveLength(1);
  });

  it('the console may prove a kit that is known', async () => {
    const { place, kit } = await makeClaimed();
    const console = await place.connect('console');
    const { challenge } = await console.challengeKit(kit.id);

    await expect(console.challengeKit(randomUUID())).rejects.toMatchObject({ code: 'not_found' });
    const proven = await console.proveKit(kit.id, await answerKitChallenge(kit.id, kit.identity, challenge));
    expect(proven).toEqual({ id: kit.id, recipient: kit.recipient });
  });
});

describe('signatures', () => {
  it('keyd signs neither keys nor keyrings for anyone, nor for another repository', async () => {
    const { worker, kit } = await makeClaimed();
    const sign = worker.sign as (statement: object) => Promise<unknown>;

    for (const type of ['keys', 'keyring', '', 'index\nhead']) {
      await expect(sign({ ...head(kit.repositoryId, '1'), type })).rejects.toMatchObject({
        code: 'invalid_input',
      });
    }
    await expect(worker.sign(head(randomUUID(), '1'))).rejects.toMatchObject({ code: 'forbidden' });
    await expect(worker.sign({ ...head(kit.repositoryId, '1'), sha256: 'x' })).rejects.toMatchObject({
      code: 'invalid_input',
    });
    await expect(worker.sign(head(kit.repositoryId, '1\n2'))).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });

  it('a head number is signed once, also across a restart', async () => {
    const { place, worker, kit } = await makeClaimed();
    await worker.sign(head(kit.repositoryId, '7'));

    await expect(worker.sign(head(kit.repositoryId, '7', 'other'))).rejects.toMatchObject({
      code: 'conflict',
    });
    await expect(worker.sign(head(kit.repositoryId, '6'))).rejects.toMatchObject({ code: 'conflict' });
    await place.stop();
    await place.start();
    await expect(worker.sign(head(kit.repositoryId, '7', 'other'))).rejects.toMatchObject({
      code: 'conflict',
    });
    expect(await worker.lastHeadNumber()).toBe('7');
    await worker.sign(head(kit.repositoryId, '8'));
  });

  it('of two heads with one number at once only one is signed', async () => {
    const { worker, kit } = await makeClaimed();

    const both = await Promise.allSettled([
      worker.sign(head(kit.repositoryId, '1', 'a')),
      worker.sign(head(kit.repositoryId, '1', 'b')),
    ]);

    expect(both.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it('an object signed by keyd verifies with the keys that the kit opened', async () => {
    const { place, worker, kit } = await makeClaimed();
    const { reader } = await openWithKit(worker, kit);
    const expected = { type: 'snapshot', repositoryId: kit.repositoryId, number: '3' } as const;
    const object = await appendSignature(Buffer.from('{}\n'), expected, (statement) =>
      worker.sign(statement),
    );
    const run = await place.connect('run');
    const report = { type: 'report', repositoryId: kit.repositoryId, number: randomUUID() } as const;
    const signedReport = await appendSignature(Buffer.from('{}\n'), report, (statement) =>
      run.signReport(statement),
    );

    expect(verifySignature(object, expected, reader.signingKeys).toString()).toBe('{}\n');
    expect(verifySignature(signedReport, report, reader.signingKeys).toString()).toBe('{}\n');
  });
});

describe('keyring objects', () => {
  it('every key is in the objects of the moment, and nothing is written twice', async () => {
    const { server, worker, kit } = await makeClaimed();
    const { reader } = await openWithKit(worker, kit);
    const workspace = await server.createWorkspaceKey(workspaceId);
    const first = await worker.keyringObjects([]);
    const present = first.objects.map((object) => object.name);
    expect((await worker.keyringObjects(present)).objects).toEqual([]);

    const subject = await server.createSubjectKey(workspaceId);
    const second = await worker.keyringObjects(present);
    const again = await worker.keyringObjects([...present, ...second.objects.map((object) => object.name)]);

    expect(second.epoch).toBe(first.epoch);
    expect(second.objects.map((object) => object.name.includes('+'))).toEqual([true]);
    expect(again.objects).toEqual([]);
    const all = [...first.objects, ...second.objects];
    const keyring = keyringFromObjects(await openAll(all, kit, reader), reader);
    expect([...keyring.keys.keys()].sort()).toEqual([workspace.id, subject.id].sort());
    const names = newestKeyringNames(all.map((object) => object.name));
    expect([...names.bases, ...names.additions]).toEqual(all.map((object) => object.name));
  });

  it('a target that lost its base gets it again, together with the addition', async () => {
    const { place, server, worker } = await makeClaimed();
    const first = await worker.keyringObjects([]);
    await server.createSubjectKey(null);
    await worker.keyringObjects(first.objects.map((object) => object.name));
    await place.stop();
    await place.start();

    const again = await worker.keyringObjects([]);

    expect(again.objects).toHaveLength(2);
    expect(again.objects[0]).toEqual(first.objects[0]);
  });

  it('keys that change while a base is made are in its addition', async () => {
    const { server, worker, kit } = await makeClaimed();
    const { reader } = await openWithKit(worker, kit);
    const making = worker.keyringObjects([]);
    const created = await Promise.all(Array.from({ length: 30 }, () => server.createSubjectKey(null)));
    const base = await making;
    const addition = await worker.keyringObjects(base.objects.map((object) => object.name));

    const keyring = keyringFromObjects(
      await openAll([...base.objects, ...addition.objects], kit, reader),
      reader,
    );

    expect(created.filter((key) => !keyring.keys.has(key.id))).toEqual([]);
  });

  it('what was composed but damaged on disk is composed anew as a higher epoch', async () => {
    const { place, worker } = await makeClaimed();
    const first = await worker.keyringObjects([]);
    await writeFile(join(place.keyring, 'published.age'), 'damaged');

    const again = await worker.keyringObjects(first.objects.map((object) => object.name));

    expect(again.epoch).toBe(first.epoch + 1);
  });

  it('a base is made anew each day', async () => {
    const { place, worker } = await makeClaimed();
    const first = await worker.keyringObjects([]);
    const { now } = place.clock;
    const base = now.call(place.clock).getTime();
    place.clock.now = () => new Date(base + 25 * 3_600_000);
    await place.stop();
    await place.start();
    const late = await place.connect('worker', { clock: place.clock });

    expect((await late.keyringObjects(first.objects.map((object) => object.name))).epoch).toBe(
      first.epoch + 1,
    );
  });

  it('an object that was changed, renamed or signed by another is refused', async () => {
    const { worker, kit } = await makeClaimed();
    const { reader } = await openWithKit(worker, kit);
    const [object] = (await worker.keyringObjects([])).objects;
    if (!object) throw new Error('no object');
    const other = await makeClaimed();
    const foreign = await openWithKit(other.worker, other.kit);
    const changed = Buffer.from(object.bytes);
    changed.writeUInt8(changed.readUInt8(changed.length - 1) ^ 1, changed.length - 1);

    const open = (bytes: Buffer, name: string, from: KeyringReader) =>
      openKeyringObject(bytes, [kit.identity], { ...from, name });
    const refused = { code: 'integrity_failure' };
    await expect(open(changed, object.name, reader)).rejects.toMatchObject(refused);
    await expect(open(object.bytes, object.name.replace('/1-', '/2-'), reader)).rejects.toMatchObject(
      refused,
    );
    await expect(open(object.bytes, object.name, foreign.reader)).rejects.toMatchObject(refused);
    await expect(
      openKeyringObject(object.bytes, [other.kit.identity], { ...reader, name: object.name }),
    ).rejects.toMatchObject({
      code: 'wrong_key',
    });
  });
});

describe('what a run is lent', () => {
  it('is taken once, by the run, and only the server lends secrets', async () => {
    const { place, server, worker } = await makeClaimed();
    const run = await place.connect('run');
    const runId = randomUUID();

    await expect(run.take(runId)).rejects.toMatchObject({ code: 'not_found' });
    await expect(worker.lend(runId, { a: 1 })).rejects.toMatchObject({ code: 'forbidden' });
    await server.lend(runId, { a: 1 });
    await expect(server.lend(runId, { a: 2 })).rejects.toMatchObject({ code: 'conflict' });
    expect(await run.take(runId)).toEqual({ a: 1 });
    await expect(run.take(runId)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('the test identity opens the keys, once, for a run that was given it', async () => {
    const { place, worker, kit } = await makeClaimed();
    const run = await place.connect('run');
    const runId = randomUUID();
    await expect(run.testIdentities(runId)).rejects.toMatchObject({ code: 'forbidden' });
    await worker.lend(runId, null, { testIdentity: true });

    const [identity = '', ...others] = await run.testIdentities(runId);

    expect(others).toEqual([]);
    expect((await openWithKit(worker, { ...kit, identity })).statement.generation).toBe(1);
    await expect(run.testIdentities(runId)).rejects.toMatchObject({ code: 'forbidden' });
  });

  it('the live keys are for the connection of a run that was given them', async () => {
    const { place, server, worker } = await makeClaimed();
    const { id } = await server.createSubjectKey(null);
    const [given, other] = [await place.connect('run'), await place.connect('run')];
    const runId = randomUUID();
    await worker.lend(runId, null, { testIdentity: true, liveKeys: true });
    const derive = (client: KeyClient) => client.deriveKeys([{ keyId: id, purpose: 'wrap' }]);

    await expect(derive(given)).rejects.toMatchObject({ code: 'forbidden' });
    await given.testIdentities(runId);

    expect(await derive(given)).toHaveLength(1);
    await expect(derive(other)).rejects.toMatchObject({ code: 'forbidden' });
  });

  it('a run that signs in to a target takes its right to live keys alone, and one that was lent none gets none', async () => {
    const { place, server, worker } = await makeClaimed();
    const { id } = await server.createSubjectKey(null);
    const run = await place.connect('run');
    const [withRight, without] = [randomUUID(), randomUUID()];
    await worker.lend(withRight, null, { testIdentity: true, liveKeys: true });
    await server.lend(without, { kit: {} });

    await expect(run.takeLiveKeys(without)).rejects.toMatchObject({ code: 'forbidden' });
    await expect(run.deriveKeys([{ keyId: id, purpose: 'wrap' }])).rejects.toMatchObject({
      code: 'forbidden',
    });
    await run.takeLiveKeys(withRight);

    expect(await run.deriveKeys([{ keyId: id, purpose: 'wrap' }])).toHaveLength(1);
    // The test identity is still there for it, once.
    await run.testIdentities(withRight);
  });
});

/** A sealed name, the objects that hold its key, and who may read them. */
async function makeSealedName(place: KeydPlace, server: KeyClient, worker: KeyClient, kit: Kit) {
  const sealer = openSealer(server);
  onTestFinished(sealer.close);
  const { id } = await server.createWorkspaceKey(workspaceId);
  const context = { type: 'node-name', workspaceId, subjectId: '', objectId: 'o', version: '' };
  const sealed = await sealer.sealName(id, context, 'Überblick.pdf');
  const { reader } = await openWithKit(worker, kit);
  const base = await worker.keyringObjects([]);
  await server.createSubjectKey(workspaceId);
  const addition = await worker.keyringObjects(base.objects.map((object) => object.name));
  const plaintexts = await openAll([...base.objects, ...addition.objects], kit, reader);
  return { id, context, sealed, reader, plaintexts, epoch: base.epoch, directory: place.directory };
}

describe('a keyring restored from the repository', () => {
  it('a scratch keyd opens names with what the kit opened, and does nothing else', async () => {
    const { place, server, worker, kit } = await makeClaimed();
    const name = await makeSealedName(place, server, worker, kit);
    await expect(
      startScratchKeyd({ directory: place.run, plaintexts: name.plaintexts.slice(1), reader: name.reader }),
    ).rejects.toMatchObject({ code: 'integrity_failure' });
    await place.stop();

    const scratch = await startScratchKeyd({
      directory: place.run,
      plaintexts: name.plaintexts,
      reader: name.reader,
    });
    onTestFinished(scratch.stop);
    const run = await connectKeyd({ ...scratch, role: 'run' });
    onTestFinished(() => run.close());
    const sealer = openSealer(run);
    onTestFinished(sealer.close);

    expect(await sealer.openName(name.id, name.context, name.sealed)).toBe('Überblick.pdf');
    expect((await run.workspaceKey(workspaceId)).id).toBe(name.id);
    expect((await run.status()).keyCount).toBe(2);
    await expect(run.lastHeadNumber()).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(run.repositoryKeys()).rejects.toMatchObject({ code: 'invalid_input' });
  });

  it('a new machine has the same keys, signs on with higher numbers, and publishes a higher epoch', async () => {
    const { place, server, worker, kit } = await makeClaimed();
    const name = await makeSealedName(place, server, worker, kit);
    const target = await makeKeydPlace();
    await target.stop();
    await rm(target.keyring, { recursive: true });
    const restore = { plaintexts: name.plaintexts, reader: name.reader, lastHeadNumber: '41', lastEpoch: 9 };

    expect(await restoreKeyring({ directory: target.keyring, ...restore })).toBe(2);
    await expect(restoreKeyring({ directory: target.keyring, ...restore })).rejects.toMatchObject({
      code: 'conflict',
    });
    await target.start();

    const restored = await target.connect('server');
    const sealer = openSealer(restored);
    onTestFinished(sealer.close);
    expect(await sealer.openName(name.id, name.context, name.sealed)).toBe('Überblick.pdf');
    const writer = await target.connect('worker');
    await expect(writer.sign(head(kit.repositoryId, '41'))).rejects.toMatchObject({ code: 'conflict' });
    const object = await appendSignature(
      Buffer.from('{}\n'),
      { type: 'head', repositoryId: kit.repositoryId, number: '42' },
      (statement) => writer.sign(statement),
    );
    verifySignature(
      object,
      { type: 'head', repositoryId: kit.repositoryId, number: '42' },
      name.reader.signingKeys,
    );
    expect((await writer.keyringObjects([])).epoch).toBe(10);
    expect((await writer.keysObject()).name).toBe((await worker.keysObject()).name);
  });
});
