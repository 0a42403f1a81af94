/**
 * What somebody does to the log who can: a superuser of the database with the triggers off, whoever copies the keyring, whoever sets
 * the clock, whoever edits the export. Each is done for real and must be called by its name.
 */
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createSigningKey, trustInRoot } from '../../server/keys/index.ts';
import { makeSigningCertificate } from '../../server/keys/signing-certificate.ts';
import { readUnsignedHead, signHead } from '../../server/lib/merkle/checkpoint.ts';
import type { VerifyReport } from '../../server/audit/index.ts';
import { makeSignedLog, type SignedLog } from './signed-log.ts';

const codesOf = (report: VerifyReport) => [...new Set(report.findings.map(({ code }) => code))];

/** Three checkpoints, over 300, 600 and 700 entries: two full tiles and one that is not. */
async function makeLog(): Promise<SignedLog> {
  const log = await makeSignedLog();
  for (const count of [300, 300, 100]) {
    await log.write(count);
    await log.sign();
  }
  return log;
}

describe('a log that nobody touched', () => {
  test('verifies, with every entry and every checkpoint', async () => {
    const log = await makeLog();

    const report = await log.check();

    expect(report).toMatchObject({
      ok: true,
      entries: 700,
      size: 700,
      checkpoints: 3,
      newest: { size: 700 },
      uncovered: 0,
      findings: [],
      notices: [],
    });
  });

  test('says how many entries nothing signed speaks for yet', async () => {
    const log = await makeLog();
    await log.write(5);
    const { sequenceEntries } = await import('../../server/audit/index.ts');
    await sequenceEntries(log.database.db);

    expect(await log.check()).toMatchObject({ ok: true, size: 705, uncovered: 5 });
  });

  test('verifies in part, from a checkpoint on, against the same root', async () => {
    const log = await makeLog();
    log.clock.offsetMs = 0;
    const { exportLog } = await import('../../server/audit/index.ts');
    const second = await log.database.db
      .selectFrom('audit_checkpoints')
      .select('at')
      .where('size', '=', '600')
      .executeTakeFirstOrThrow();
    const lines: string[] = [];
    for await (const line of exportLog(log.deps, { since: second.at })) lines.push(line);

    const report = log.verify(lines);

    expect(report.ok).toBe(true);
    expect(report.from).toBeGreaterThanOrEqual(300);
    expect(report.size).toBe(700);
    expect(report.entries).toBe(700 - report.from);
  });

  test('of no entries at all is not taken for one that verifies', async () => {
    const log = await makeSignedLog();

    expect(codesOf(await log.check())).toEqual(['unsigned']);
  });

  test('is believed only with the right trust root, and only as the log of the right repository', async () => {
    const log = await makeLog();
    const other = createSigningKey().publicKey;

    const wrongRoot = await log.check({ trust: trustInRoot(other, log.kit.repositoryId) });
    const wrongRepository = await log.check({
      trust: trustInRoot(log.kit.trustRoot, '11111111-2222-4333-8444-555555555555'),
    });

    expect(codesOf(wrongRoot)).toEqual(['key-replaced']);
    expect(codesOf(wrongRepository)).toEqual(['key-replaced']);
  });

  test('a file that is no export is refused', async () => {
    const log = await makeSignedLog();

    expect(() => log.verify(['{"report":{}}'])).toThrow(/not an export/);
    expect(() => log.verify(['{"export":{"format":"holdfast-audit-export/2"}}'])).toThrow(/newer Holdfast/);
    expect(() => log.verify([])).toThrow(/not an export/);
  });
});

describe('an entry that was edited', () => {
  test('is named with its place', async () => {
    const log = await makeLog();
    await log.tamper(`update audit_entries set detail = '{"at": 7000}' where number = 412`);

    const report = await log.check();

    expect(report.findings).toMatchObject([{ code: 'edited', position: 411 }]);
    expect(report.ok).toBe(false);
  });

  test('in any column is noticed', async () => {
    const log = await makeLog();
    const changes = [
      "at = at - interval '1 millisecond'",
      "actor_label = 'someone else'",
      "actor_kind = 'console'",
      'actor_id = id',
      'session_id = id',
      "action = 'tests.thing.undone'",
      "object_type = 'other'",
      "object_id = 'x'",
      'workspace_id = id',
      "result = 'failed'",
      "address = '192.0.2.1'",
      "request_id = 'x'",
      "salt = decode('00112233445566778899aabbccddeeff', 'hex')",
      'id = gen_random_uuid()',
    ];
    for (const [at, change] of changes.entries())
      await log.tamper(`update audit_entries set ${change} where number = ${at * 20 + 10}`);

    const report = await log.check();

    expect(report.findings.map(({ code, position }) => [code, position])).toEqual(
      changes.map((_, at) => ['edited', at * 20 + 9]),
    );
  });

  test('and whose hashes were made to fit is named by the checkpoints before and behind it', async () => {
    const log = await makeLog();
    await log.tamper(`update audit_entries set result = 'failed' where number = 412`);
    await log.rebuildTree();

    const report = await log.check();

    expect(report.findings).toMatchObject([{ code: 'rewritten', position: 300 }]);
    expect(report.findings[0]?.message).toMatch(
      /Between positions 300 and 599 .* at 600 entries does not fit/,
    );
  });
});

describe('an entry that was deleted', () => {
  test('is named with its place', async () => {
    const log = await makeLog();
    await log.tamper('delete from audit_entries where number in (1, 258, 700)');

    const report = await log.check();

    expect(report.findings.map(({ code, position }) => [code, position])).toEqual([
      ['deleted', 0],
      ['deleted', 257],
      ['deleted', 699],
    ]);
  });

  test('together with its place leaves a gap that is named', async () => {
    const log = await makeLog();
    await log.tamper(
      'delete from audit_entries where number = 258; delete from audit_leaves where position = 257',
    );

    const report = await log.check();

    expect(codesOf(report)).toContain('deleted');
    expect(report.findings[0]?.message).toMatch(/places 257 to 257 are gone/);
  });

  test('and whose gap was closed is named by the checkpoints around it, and the missing end', async () => {
    const log = await makeLog();
    await log.tamper(
      'delete from audit_entries where number = 258; delete from audit_leaves where position = 257',
    );
    await log.rebuildTree();

    expect(codesOf(await log.check()).sort()).toEqual(['rewritten', 'truncated']);
  });

  test('before it had a place cannot be seen in the tree, and is not guessed', async () => {
    const log = await makeSignedLog();
    await log.write(3);
    await log.tamper('delete from audit_entries where number = 2');
    await log.sign();

    // Its number waits for ever; the entries that are there verify.
    expect(await log.check()).toMatchObject({ ok: true, entries: 2 });
    expect(await log.database.db.selectFrom('audit_pending').selectAll().execute()).toEqual([
      { number: '2' },
    ]);
  });
});

describe('an entry that was moved', () => {
  test('to a place in the same tile is named', async () => {
    const log = await makeLog();
    await swapPlaces(log, 10, 20);

    const report = await log.check();

    expect(report.findings.map(({ code, position }) => [code, position])).toEqual([
      ['reordered', 10],
      ['reordered', 20],
    ]);
  });

  test('across tiles is named', async () => {
    const log = await makeLog();
    await swapPlaces(log, 10, 650);

    expect((await log.check()).findings.map(({ code }) => code)).toEqual(['reordered', 'reordered']);
  });

  test('and whose hash was moved with it is named by the checkpoints around it', async () => {
    const log = await makeLog();
    await swapPlaces(log, 310, 320);
    await log.rebuildTree();

    expect((await log.check()).findings).toMatchObject([{ code: 'rewritten', position: 300 }]);
  });

  async function swapPlaces(log: SignedLog, one: number, other: number): Promise<void> {
    await log.tamper(`
      update audit_leaves set entry_number = -1 where position = ${one};
      update audit_leaves set entry_number = ${one + 1} where position = ${other};
      update audit_leaves set entry_number = ${other + 1} where position = ${one}`);
  }
});

describe('an entry that was put in', () => {
  test('into an export is named', async () => {
    const log = await makeLog();
    const lines = await log.export();
    const at = lines.findIndex((line) => line.includes('"number":"50"'));
    const forged = (lines[at] ?? '').replace('"number":"50"', '"number":"50000"');

    const report = log.verify(lines.toSpliced(at, 0, forged));

    expect(report.findings).toMatchObject([{ code: 'added', position: 49 }]);
  });
});

describe('an end that was taken off', () => {
  test('is named, in the database', async () => {
    const log = await makeLog();
    await log.tamper(
      'delete from audit_entries where number > 690; delete from audit_leaves where position >= 690',
    );

    const report = await log.check();

    expect(report.findings).toMatchObject([{ code: 'truncated', position: 690 }]);
    expect(report.findings[0]?.message).toMatch(/^10 entries are missing at the end/);
  });

  test('is not where something stands behind it: that is named', async () => {
    const log = await makeLog();
    const lines = await log.export();
    for (const line of [lines.find((one) => one.startsWith('{"action"')) ?? '', 'anything', ''])
      expect(codesOf(log.verify([...lines, line, line]))).toEqual(['added']);
  });

  test('is named, in a file that was cut anywhere', async () => {
    const log = await makeLog();
    const lines = await log.export();

    for (const length of [1, 2, 3, 10, 305, lines.length - 2, lines.length - 1]) {
      expect([length, codesOf(log.verify(lines.slice(0, length)))]).toEqual([
        length,
        expect.arrayContaining(['truncated']),
      ]);
    }
  });

  test('together with the checkpoints that speak of it is named by one that was kept elsewhere', async () => {
    const log = await makeLog();
    const kept = await log.sign();
    await log.tamper(`
      delete from audit_entries where number > 600; delete from audit_leaves where position >= 600;
      delete from audit_checkpoints where size > 600`);

    expect((await log.check()).ok).toBe(true);
    const report = await log.check({
      kept: [{ note: kept.note, certificate: kept.certificate, source: 'vault' }],
    });

    expect(report.findings).toMatchObject([{ code: 'rolled-back', position: 600 }]);
    expect(report.findings[0]?.message).toMatch(/^vault, .* covers 700 entries, here are 600/);
  });

  test('after which the log went on gets no further signature, and is named', async () => {
    const log = await makeLog();
    await log.tamper(
      'delete from audit_entries where number > 690; delete from audit_leaves where position >= 690',
    );
    await log.write(50);

    await expect(log.sign()).rejects.toMatchObject({ code: 'integrity_failure' });

    expect(codesOf(await log.check())).toEqual(['rewritten']);
  });
});

describe('a log that was set back', () => {
  test('with its keyring, and went on differently, is named as forked by what was signed before', async () => {
    const log = await makeLog();
    const copy = await mkdtemp(join(tmpdir(), 'holdfast-set-back-'));
    onTestFinished(() => rm(copy, { recursive: true, force: true }));
    await log.place.stop();
    await cp(log.place.keyring, copy, { recursive: true });
    await log.place.start();
    await log.write(20);
    const kept = await log.sign();

    // The machine goes back to the state of the copy; other things happen there.
    await log.place.stop();
    await rm(log.place.keyring, { recursive: true });
    await cp(copy, log.place.keyring, { recursive: true });
    await log.place.start();
    await log.tamper(`
      delete from audit_entries where number > 700; delete from audit_leaves where position >= 700;
      delete from audit_checkpoints where size > 700`);
    await log.write(30);
    await log.sign();

    const alone = await log.check();
    const report = await log.check({
      kept: [{ note: kept.note, certificate: kept.certificate, source: 'vault' }],
    });

    expect(alone.ok).toBe(true);
    expect(report.findings).toMatchObject([{ code: 'forked' }]);
    expect(report.findings[0]?.message).toMatch(/^vault, .* 720 entries speaks of another history/);
  });

  test('without its keyring gets no signature at all, and the keyring names it', async () => {
    const log = await makeLog();
    await log.tamper(`
      delete from audit_entries where number > 600; delete from audit_leaves where position >= 600;
      delete from audit_checkpoints where size > 600`);

    await expect(log.sign()).rejects.toMatchObject({
      code: 'integrity_failure',
      message: expect.stringMatching(/shorter than what was signed/) as string,
    });
    const { at, ...head } = await log.keys.auditHead();
    const remembered = { ...head, at: at ?? new Date(0), source: 'the keyring' };
    expect(codesOf(await log.check({ remembered }))).toEqual(['rolled-back']);
  });

  test('by a recovery goes on as a log of another id, which says so, and is no fault', async () => {
    const log = await makeLog();
    await log.write(20);
    const kept = await log.sign();
    await log.tamper(`
      delete from audit_entries where number > 650; delete from audit_leaves where position >= 650;
      delete from audit_checkpoints where size > 650`);

    await log.keys.renewAuditLog();
    await log.write(100);
    await log.sign();
    const report = await log.check({
      kept: [{ note: kept.note, certificate: kept.certificate, source: 'vault' }],
    });

    expect(report.findings).toEqual([]);
    expect(report.lost).toBe(1);
    expect(report.notices).toEqual([
      expect.stringMatching(/went on from an older state; vault, .* at 720 entries/),
    ]);
  });

  test('and its word that it was recovered counts for nothing without a checkpoint of the new id', async () => {
    const log = await makeLog();
    const { origin } = readUnsignedHead((await log.sign()).note);
    await log.tamper(
      'delete from audit_entries where number > 650; delete from audit_leaves where position >= 650',
    );
    await log.tamper(`delete from audit_checkpoints where size > 600`);
    const { writeEntry } = await import('./log-place.ts');
    await writeEntry(log.database.db, {
      action: 'audit.log.continued',
      objectType: 'log',
      objectId: origin.replace(/[0-9a-f]{16}$/, '0123456789abcdef'),
      detail: { before: origin, size: 650 },
    });
    const { sequenceEntries } = await import('../../server/audit/index.ts');
    await sequenceEntries(log.database.db);
    const { at, ...head } = await log.keys.auditHead();
    const remembered = { ...head, at: at ?? new Date(0), source: 'the keyring' };

    expect(codesOf(await log.check({ remembered }))).toEqual(['rolled-back']);
  });
});

describe('a clock that was set back', () => {
  test('is named at the first entry behind it, once', async () => {
    const log = await makeSignedLog();
    for (const hours of [0, 1, 2, -3, -2, -1, 4]) {
      log.clock.offsetMs = hours * 3_600_000;
      await log.writeOne();
    }
    await log.sign();

    const report = await log.check();

    expect(report.findings).toMatchObject([{ code: 'clock-set-back', position: 3 }]);
  });

  test('is named in the checkpoints too, where nothing was written meanwhile', async () => {
    const log = await makeSignedLog();
    await log.write(1);
    log.place.clock.offsetMs = 0;
    await log.sign();
    log.place.clock.offsetMs = -5 * 3_600_000;
    log.clock.offsetMs = 0;
    await log.write(1);
    await log.keys.close();
    const keys = await log.place.connect('server', { clock: log.place.clock });
    const { makeCheckpoint } = await import('../../server/audit/index.ts');
    await makeCheckpoint({ ...log.deps, keys });

    expect(codesOf(await log.check())).toEqual(['clock-set-back']);
  });

  test('by less than ten minutes is taken for a long act', async () => {
    const log = await makeSignedLog();
    for (const minutes of [0, -9, 0]) {
      log.clock.offsetMs = minutes * 60_000;
      await log.writeOne();
    }
    await log.sign();

    expect((await log.check()).ok).toBe(true);
  });
});

describe('a signing key that was replaced', () => {
  test('is named, with a certificate that its holder made too', async () => {
    const log = await makeLog();
    await log.tamper(`update audit_entries set result = 'failed' where number = 412`);
    await log.rebuildTree();
    const { readRoot } = await import('../../server/audit/tree/stored-tree.ts');
    const forger = createSigningKey();
    const { origin } = readUnsignedHead((await firstNote(log)) ?? '');
    const certificate = await makeSigningCertificate(
      log.kit.repositoryId,
      {
        id: forger.id,
        publicKey: Buffer.from(forger.publicKey).toString('base64'),
        validFrom: '2026-01-01T00:00:00Z',
      },
      createSigningKey(),
    );
    const root = await readRoot(log.database.db, 700);
    const note = signHead({ origin, size: 700, root }, new Date(), forger);
    await log.tamper(`
      delete from audit_checkpoints; delete from audit_certificates;
      insert into audit_certificates values ('\\x${'00'.repeat(32)}', '${certificate}');
      insert into audit_checkpoints (origin, size, at, note, certificate_sha256)
      values ('${origin}', 700, now(), '${note}', '\\x${'00'.repeat(32)}')`);

    const report = await log.check();

    expect(report.findings).toMatchObject([{ code: 'key-replaced' }]);
  });

  async function firstNote(log: SignedLog): Promise<string | undefined> {
    return (await log.database.db.selectFrom('audit_checkpoints').select('note').executeTakeFirst())?.note;
  }
});

describe('a checkpoint from elsewhere', () => {
  test('that somebody else made is counted, and not believed', async () => {
    const log = await makeLog();
    const forger = createSigningKey();
    const { origin } = readUnsignedHead((await log.sign()).note);
    const note = signHead({ origin, size: 10, root: Buffer.alloc(32) }, new Date(), forger);

    const report = await log.check({
      kept: [
        { note, source: 'planted' },
        { note: 'rubbish', source: 'rubbish' },
      ],
    });

    expect(report).toMatchObject({ ok: true, kept: { given: 2, believed: 0 } });
  });
});
