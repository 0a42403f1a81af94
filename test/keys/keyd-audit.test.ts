import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readSigningCertificate, type KeyClient } from '../../server/keys/index.ts';
import { parseOrigin, readSignedHead } from '../../server/lib/merkle/checkpoint.ts';
import { hashLeaf, hashNode } from '../../server/lib/merkle/hashing.ts';
import { claimWithKit, makeKeydPlace } from './keyd-place.ts';

const leaves = ['a', 'b', 'c', 'd'].map((text) => hashLeaf(Buffer.from(text)));
const [a, b, c, d] = leaves as [Buffer, Buffer, Buffer, Buffer];
const two = hashNode(a, b);
const three = hashNode(two, c);
const four = hashNode(two, hashNode(c, d));

async function makeClaimed() {
  const place = await makeKeydPlace();
  const server = await place.connect('server');
  const kit = await claimWithKit(server);
  return { place, server, kit };
}

const signTwo = (client: KeyClient) => client.signCheckpoint({ after: 0, size: 2, root: two, proof: [] });

describe('signing a checkpoint', () => {
  it('is refused before the claim, and to roles that have no business with it', async () => {
    const place = await makeKeydPlace();
    const server = await place.connect('server');

    await expect(server.auditHead()).rejects.toMatchObject({ code: 'wrong_state' });
    await expect(signTwo(server)).rejects.toMatchObject({ code: 'wrong_state' });
    for (const role of ['worker', 'browse', 'console'] as const) {
      const client = await place.connect(role);
      await expect(client.auditHead()).rejects.toMatchObject({ code: 'forbidden' });
      await expect(signTwo(client)).rejects.toMatchObject({ code: 'forbidden' });
    }
    await expect((await place.connect('run')).renewAuditLog()).rejects.toMatchObject({ code: 'forbidden' });
  });

  it('composes the note itself, and vouches for the key by a certificate of the trust root', async () => {
    const { server, kit, place } = await makeClaimed();

    const made = await signTwo(server);

    const key = readSigningCertificate(made.certificate, kit);
    const head = readSignedHead(made.note, [key.publicKey]);
    expect(head).toMatchObject({ origin: made.origin, size: 2, root: two, at: new Date(made.at) });
    expect(parseOrigin(made.origin)?.repositoryId).toBe(kit.repositoryId);
    expect(Math.abs(new Date(made.at).getTime() - place.clock.now().getTime())).toBeLessThan(5_000);
    expect(await server.auditHead()).toEqual({
      origin: made.origin,
      size: 2,
      root: two,
      at: new Date(made.at),
    });
  });

  it('goes on only with the proof that what was signed is the beginning', async () => {
    const { server } = await makeClaimed();
    await signTwo(server);
    const wrong = [
      { after: 2, size: 4, root: four, proof: [] },
      { after: 2, size: 4, root: four, proof: [a] },
      { after: 2, size: 4, root: three, proof: [hashNode(c, d)] },
      { after: 2, size: 2, root: three, proof: [] },
      { after: 2, size: 1, root: a, proof: [] },
      { after: 2, size: 0, root: createHash('sha256').digest(), proof: [] },
    ];

    for (const request of wrong) {
      await expect(server.signCheckpoint(request)).rejects.toMatchObject({ code: 'integrity_failure' });
    }
    await expect(signTwo(server)).rejects.toMatchObject({ code: 'conflict' });

    expect(await server.auditHead()).toMatchObject({ size: 2 });
    const next = await server.signCheckpoint({ after: 2, size: 4, root: four, proof: [hashNode(c, d)] });
    expect(next.note.split('\n')[1]).toBe('4');
  });

  it('refuses hashes and counts that are none', async () => {
    const { server } = await makeClaimed();
    const wrong = [
      { after: 0, size: 2, root: Buffer.alloc(31), proof: [] },
      { after: 0, size: 2, root: two, proof: [Buffer.alloc(33)] },
      { after: 0, size: -1, root: two, proof: [] },
      { after: 0, size: 1.5, root: two, proof: [] },
      { after: 0, size: 2, root: two, proof: Array.from({ length: 200 }, () => two) },
    ];

    for (const request of wrong) {
      await expect(server.signCheckpoint(request)).rejects.toMatchObject({ code: 'invalid_input' });
    }
  });

  it('signs the same head again, with the time of then', async () => {
    const { server, place } = await makeClaimed();
    const first = await signTwo(server);
    await server.close();
    place.clock.offsetMs = 3_600_000;
    const later = await place.connect('server', { clock: place.clock });

    const again = await later.signCheckpoint({ after: 2, size: 2, root: two, proof: [] });

    expect(again.note.split('\n').slice(0, 3)).toEqual(first.note.split('\n').slice(0, 3));
    expect(new Date(again.at).getTime()).toBeGreaterThan(new Date(first.at).getTime() + 3_500_000);
  });

  it('is remembered over a restart', async () => {
    const { server, place } = await makeClaimed();
    const first = await signTwo(server);
    await place.stop();
    await place.start();
    const again = await place.connect('server');

    expect(await again.auditHead()).toMatchObject({ origin: first.origin, size: 2 });
    await expect(signTwo(again)).rejects.toMatchObject({ code: 'conflict' });
  });

  it('begins anew under another id when an owner says so', async () => {
    const { server } = await makeClaimed();
    const first = await signTwo(server);

    await server.renewAuditLog();

    const now = await server.auditHead();
    expect(now).toMatchObject({ size: 0, at: null });
    expect(now.origin).not.toBe(first.origin);
    expect(parseOrigin(now.origin)?.repositoryId).toBe(parseOrigin(first.origin)?.repositoryId);
    await signTwo(server);
  });
});
