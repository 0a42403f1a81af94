/** Signed reports, verified by someone who has nothing but the file and the public half of the trust root, or a kit. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createLocalRepositoryKeys,
  createSigningKey,
  makeSigningCertificate,
  signReport,
  signStatement,
  type LocalRepositoryKeys,
} from '../../server/keys/index.ts';
import type { SigningKeyPair } from '../../server/keys/trust-root.ts';
import { REPORT_KIND, verifyReport, type RestoreTestReport } from '../../server/restore-tests/report.ts';
import { runHoldfast } from '../helpers/served-appliance.ts';

let keys: LocalRepositoryKeys;
let folder: string;
beforeAll(async () => {
  keys = await createLocalRepositoryKeys();
  folder = await mkdtemp(join(tmpdir(), 'holdfast-test-report-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const trustRoot = () => ({ trustRoot: keys.trustRoot.publicKey });
const kit = () => ({
  kit: {
    repositoryId: keys.statement.repositoryId,
    trustRoot: keys.trustRoot.publicKey,
    ageIdentity: keys.kit.identity,
  },
});

const certify = (key: SigningKeyPair, root = keys.trustRoot) =>
  makeSigningCertificate(
    keys.statement.repositoryId,
    {
      id: key.id,
      publicKey: Buffer.from(key.publicKey).toString('base64'),
      validFrom: '2026-01-01T00:00:00.000Z',
    },
    root,
  );

async function makeReport(
  certificate: string | undefined,
  signer = keys.signingKey,
  changes: Partial<RestoreTestReport> = {},
): Promise<Buffer> {
  const { repositoryId } = keys.statement;
  const report: RestoreTestReport = {
    kind: REPORT_KIND,
    format: 1,
    id: '11111111-2222-4333-8444-555555555555',
    repositoryId,
    number: '7',
    software: '0',
    state: 'passed',
    grade: 'data-proven',
    mode: 'quick',
    keySource: 'test-identity',
    kitId: null,
    startedAt: '2026-03-01T02:00:00.000Z',
    finishedAt: '2026-03-01T02:01:00.000Z',
    snapshot: { id: 'a', number: '7', takenAt: null, restorePoint: null, endLsn: null, keyringEpoch: null },
    target: { id: null, kind: 'directory' },
    head: null,
    keyringObjects: [],
    rtoMs: 61_000,
    rtoBasis: 'extrapolated',
    rpoMs: null,
    checks: [],
    keysObject: { name: keys.keysObject.name, object: keys.keysObject.bytes.toString('base64') },
    ...(certificate === undefined ? {} : { certificate }),
    ...changes,
  };
  return signReport(report, async (statement) =>
    signStatement(signer, { type: 'report', repositoryId, ...statement }),
  );
}

const integrity = { code: 'integrity_failure' };

describe('with the trust root alone', () => {
  test('an edited report is refused, whatever was edited', async () => {
    const text = (await makeReport(await certify(keys.signingKey))).toString();
    for (const [from, to] of [
      ['"mode":"quick"', '"mode":"full"'],
      ['"state":"passed"', '"state":"failed"'],
      ['"number":"7"', '"number":"8"'],
      ['validFrom\\":\\"2026', 'validFrom\\":\\"2025'],
    ] as const) {
      const edited = text.replace(from, to);
      expect(edited).not.toBe(text);
      await expect(verifyReport(Buffer.from(edited), trustRoot())).rejects.toMatchObject(integrity);
    }
  });

  test('a certificate of another root is refused, also when that root is the forger’s own', async () => {
    const forger = createSigningKey();
    const forged = await makeReport(await certify(forger, createSigningKey()), forger);

    await expect(verifyReport(forged, trustRoot())).rejects.toMatchObject(integrity);
    await expect(verifyReport(forged, kit())).rejects.toMatchObject(integrity);
  });

  test('a certificate for another key does not cover the signature', async () => {
    const report = await makeReport(await certify(createSigningKey()));

    await expect(verifyReport(report, trustRoot())).rejects.toMatchObject(integrity);
  });

  test('a report from before certificates says that it carries none', async () => {
    await expect(verifyReport(await makeReport(undefined), trustRoot())).rejects.toMatchObject({
      code: 'invalid_input',
      message: expect.stringContaining('no certificate') as string,
      hint: expect.stringContaining('recovery kit') as string,
    });
  });

  test('an unchanged report verifies', async () => {
    const report = await verifyReport(await makeReport(await certify(keys.signingKey)), trustRoot());

    expect(report).toMatchObject({ state: 'passed', number: '7' });
  });
});

test('a kit verifies a report with a certificate, and one from before', async () => {
  for (const certificate of [await certify(keys.signingKey), undefined])
    expect(await verifyReport(await makeReport(certificate), kit())).toMatchObject({ state: 'passed' });
});

describe('holdfast verify-report', () => {
  const root = () => Buffer.from(keys.trustRoot.publicKey).toString('base64');
  const write = async (bytes: Buffer) => {
    const path = join(folder, 'report.jsonl');
    await writeFile(path, bytes);
    return path;
  };

  test('without anything to believe asks for it, and ends with 2', async () => {
    const path = await write(await makeReport(await certify(keys.signingKey)));
    for (const options of [[], ['--trust-root', 'short'], ['--trust-root', root(), '--kit', path]]) {
      const run = await runHoldfast(['verify-report', path, ...options]);
      expect([run.exitCode, run.stderr]).toEqual([2, expect.stringContaining('--trust-root')]);
    }
  });

  test('with the trust root ends with 0, and says that the recovery time is an estimate', async () => {
    const path = await write(await makeReport(await certify(keys.signingKey)));

    const run = await runHoldfast(['verify-report', path, '--trust-root', root()]);

    expect(run).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('about 61.0 s, an estimate') as string,
    });
  });

  test('prints what it verified as a PDF, and verifies that as well as the report', async () => {
    const path = await write(await makeReport(await certify(keys.signingKey)));
    const pdf = join(folder, 'report.pdf');
    const words = ['--trust-root', root()];

    expect(await runHoldfast(['verify-report', path, '--pdf', pdf, ...words])).toMatchObject({ exitCode: 0 });
    const again = await runHoldfast(['verify-report', path, '--pdf', pdf, ...words]);
    const verified = await runHoldfast(['verify-report', pdf, '--json', ...words]);

    expect(again).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('is there already') as string,
    });
    expect(verified.exitCode).toBe(0);
    expect(JSON.parse(verified.stdout)).toMatchObject({ valid: true, pages: 'as-signed' });
    await writeFile(
      pdf,
      (await readFile(pdf)).toString('latin1').replace('/Lang (en)', '/Lang (de)'),
      'latin1',
    );
    const altered = await runHoldfast(['verify-report', pdf, ...words]);
    expect(altered).toMatchObject({ exitCode: 3, stdout: expect.stringContaining('ALTERED') as string });
  });

  test('with another trust root ends with 1', async () => {
    const path = await write(await makeReport(await certify(keys.signingKey)));
    const other = Buffer.from(createSigningKey().publicKey).toString('base64');

    expect((await runHoldfast(['verify-report', path, '--trust-root', other])).exitCode).toBe(1);
  });
});
