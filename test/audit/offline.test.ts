/** Verifying where there is no appliance: the command in a process of its own, and a stranger's program written from LOG.md. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { makeEntryProof } from '../../server/audit/entry-proof.ts';
import { verifierKey } from '../../server/lib/merkle/checkpoint.ts';
import { readSigningCertificate } from '../../server/keys/index.ts';
import { runHoldfast } from '../helpers/served-appliance.ts';
import { tool } from '../helpers/tools.ts';
import { makeSignedLog, type SignedLog } from './signed-log.ts';

let log: SignedLog;
let folder: string;
let file: string;
let trustRoot: string;

beforeEach(async () => {
  log = await makeSignedLog();
  folder = await mkdtemp(join(tmpdir(), 'holdfast-audit-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  file = join(folder, 'audit.jsonl');
  trustRoot = log.kit.trustRoot.toString('base64');
  for (const count of [270, 30]) {
    await log.write(count);
    await log.sign();
  }
});

async function writeExport(change: (text: string) => string = (text) => text): Promise<void> {
  await writeFile(file, change(`${(await log.export()).join('\n')}\n`));
}

const verify = (...args: string[]) => runHoldfast(['audit', 'verify', file, ...args], { dataDir: folder });

describe('the command', () => {
  test('verifies an export by the trust root, with nothing else', async () => {
    await writeExport();

    const { exitCode, stdout } = await verify('--trust-root', trustRoot);

    expect(stdout).toMatch(/^The log is as it was written\n300 entries from position 0/);
    expect(exitCode).toBe(0);
  });

  test('names an edited entry, and ends with 1', async () => {
    await writeExport((text) => text.replace('"number":"77"', '"number":"78"'));

    const { exitCode, stdout } = await verify('--trust-root', trustRoot, '--json');

    const report = JSON.parse(stdout) as { ok: boolean; findings: unknown[] };
    expect(report).toMatchObject({ ok: false, findings: [{ code: 'edited', position: 76 }] });
    expect(exitCode).toBe(1);
  });

  test('compares with a checkpoint that was kept in a file', async () => {
    const kept = await log.sign();
    await writeFile(join(folder, 'kept.txt'), kept.note);
    await log.tamper(`
      delete from audit_entries where number > 280; delete from audit_leaves where position >= 280;
      delete from audit_checkpoints where size > 280`);
    await writeExport();

    const { exitCode, stdout } = await verify(
      '--trust-root',
      trustRoot,
      '--checkpoint',
      join(folder, 'kept.txt'),
    );

    expect(stdout).toMatch(/rolled-back: kept\.txt, the checkpoint of .* covers 300 entries, here are 280/);
    expect(exitCode).toBe(1);
  });

  test('believes the verifier key that an auditor keeps, without a trust root', async () => {
    await writeExport();
    const { origin, certificate } = await log.sign();
    const { publicKey } = readSigningCertificate(certificate, log.kit);

    expect(await verify('--key', verifierKey(origin, publicKey))).toMatchObject({ exitCode: 0 });
  });

  test('refuses to guess whom to believe, and what is no export', async () => {
    await writeExport();

    expect(await verify()).toMatchObject({ exitCode: 2 });
    expect(await verify('--trust-root', 'short')).toMatchObject({ exitCode: 2 });
    expect(await verify('--key', 'nonsense')).toMatchObject({ exitCode: 2 });
    await writeFile(file, 'hello\n');
    expect(await verify('--trust-root', trustRoot)).toMatchObject({ exitCode: 2 });
    await writeFile(file, '');
    expect(await verify('--trust-root', trustRoot)).toMatchObject({ exitCode: 2 });
  });

  test('verifies the proof of one entry, and none that was changed', async () => {
    const id = await log.writeOne();
    const proof = await makeEntryProof(log.deps, id);
    const path = join(folder, 'one.tlog-proof');
    await writeFile(path, proof);
    const run = () =>
      runHoldfast(['audit', 'verify', path, '--trust-root', trustRoot, '--json'], { dataDir: folder });

    const good = await run();
    const [first = '', extra = '', ...rest] = proof.split('\n');
    const content = JSON.parse(Buffer.from(extra.slice(6), 'base64').toString()) as { entry: string };
    const changed = { ...content, entry: content.entry.replace('"done"', '"failed"') };
    await writeFile(
      path,
      [first, `extra ${Buffer.from(JSON.stringify(changed)).toString('base64')}`, ...rest].join('\n'),
    );
    const bad = await run();

    expect(JSON.parse(good.stdout)).toMatchObject({ valid: true, position: 300, entry: { id } });
    expect(good.exitCode).toBe(0);
    expect(JSON.parse(bad.stdout)).toMatchObject({ error: { code: 'integrity_failure' } });
    expect(bad.exitCode).toBe(1);
  });
});

describe("a stranger's program, written from LOG.md", () => {
  const python = () =>
    spawnSync(tool('python3').path, [join(import.meta.dirname, 'verify_export.py'), file, trustRoot]);

  test('agrees with ours', async () => {
    await writeExport();

    const { status, stdout, stderr } = python();

    expect([status, stderr.toString()]).toEqual([0, '']);
    expect(JSON.parse(stdout.toString())).toEqual({ size: 300, checkpoints: 2 });
  });

  test('notices an edited entry too', async () => {
    await writeExport((text) => text.replace('"number":"77"', '"number":"78"'));

    const { status, stderr } = python();

    expect(stderr.toString()).toMatch(/position 76 is not what was written/);
    expect(status).toBe(1);
  });
});
