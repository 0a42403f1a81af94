import { createHash } from 'node:crypto';
import { chmod, cp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  createLogVerifier,
  exportLog,
  makeCheckpoint,
  systemActor,
  treeSize,
  verifyWhenDue,
  type LogState,
} from '../../server/audit/index.ts';
import {
  anchorWhenDue,
  openTarget,
  readKeptHeads,
  releaseFromQuarantine,
} from '../../server/backups/index.ts';
import { trustInRoot } from '../../server/keys/index.ts';
import { readUnsignedHead } from '../../server/lib/merkle/checkpoint.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import { writeEntries } from '../audit/log-place.ts';
import { expectStatus, startTestKeyd } from '../helpers/appliance.ts';
import { startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';

const HOUR_MS = 3_600_000;

let appliance: StockedAppliance;
beforeEach(async () => {
  appliance = await startStockedAppliance();
});
afterEach(() => appliance.close());

const anchorFiles = () => readdir(join(appliance.targetPath, 'anchors')).catch(() => [] as string[]);
const logState = () => expectStatus(appliance.console.call<LogState>('GET', '/audit/log'), 200);

/** What the chore of each minute does, and the run that it queues, if any. */
async function tick(): Promise<string | undefined> {
  await anchorWhenDue(appliance.deps);
  const queued = await appliance.deps.db
    .selectFrom('runs')
    .select('id')
    .where('state', '=', 'queued')
    .execute();
  if (queued.length === 0) return undefined;
  return (await appliance.performRun()).state;
}

describe('with a snapshot', () => {
  test('the checkpoint that the snapshot names lies on its target, under its size and hash', async () => {
    await appliance.takeSnapshot();

    const [name = '', ...more] = await anchorFiles();
    const bytes = await readFile(join(appliance.targetPath, 'anchors', name));
    const [header = '', line = '', signature = '', end] = bytes.toString().split('\n');
    const { anchor } = JSON.parse(line) as { anchor: { checkpoint: string } };
    const { size } = readUnsignedHead(anchor.checkpoint);
    expect(more).toEqual([]);
    expect(name).toBe(`${size}-${createHash('sha256').update(bytes).digest('hex')}`);
    expect(JSON.parse(header)).toMatchObject({ type: 'anchor', version: 1, number: size, must: [] });
    expect([Object.keys(JSON.parse(signature) as object), end]).toEqual([['signature', 'keyId'], '']);
    const row = await appliance.deps.db.selectFrom('audit_checkpoints').select('note').execute();
    expect(row).toEqual([{ note: anchor.checkpoint }]);
  });

  test('the state of the log says where its checkpoint lies', async () => {
    expect((await logState()).anchors).toMatchObject([
      { targetName: 'copy', sameDisk: true, state: 'none', size: null },
    ]);

    await appliance.takeSnapshot();

    const state = await logState();
    expect(state.anchors).toMatchObject([
      {
        targetName: 'copy',
        state: 'current',
        size: state.checkpoint?.size,
        checkpointAt: state.checkpoint?.at,
      },
    ]);
    expect(state.checkpoint?.verifierKey).toMatch(/^holdfast\.internal\/audit\//);
  });
});

describe('by the hour', () => {
  test('nothing is written to a target that has no repository yet', async () => {
    expect(await tick()).toBeUndefined();
    expect(await anchorFiles()).toEqual([]);
  });

  test('a checkpoint is signed and anchored once an hour, not more often', async () => {
    await appliance.takeSnapshot();
    expect(await tick()).toBeUndefined();

    appliance.clock.offsetMs = HOUR_MS;
    expect(await tick()).toBe('succeeded');
    expect(await tick()).toBeUndefined();

    expect(await anchorFiles()).toHaveLength(2);
  });

  test('a log to which nothing was added gets no second anchor of the same hour', async () => {
    await appliance.takeSnapshot();
    appliance.clock.offsetMs = HOUR_MS;
    await tick();
    appliance.clock.offsetMs = 2 * HOUR_MS;

    await tick();

    const sizes = (await anchorFiles()).map((name) => Number(name.split('-')[0]));
    expect(new Set(sizes).size).toBe(sizes.length);
  });
});

describe('a target that is away', () => {
  test('is shown with the reason, tried again ever more seldom, and gets its anchor when it is back', async () => {
    await appliance.takeSnapshot();
    const away = `${appliance.targetPath}-away`;
    await rename(appliance.targetPath, away);
    appliance.clock.offsetMs = HOUR_MS;

    expect(await tick()).toBe('failed');
    expect((await logState()).anchors).toMatchObject([
      { state: 'failing', problem: { code: 'unavailable' } },
    ]);
    expect(await tick()).toBeUndefined();
    appliance.clock.offsetMs += 6 * 60_000;
    expect(await tick()).toBe('failed');
    appliance.clock.offsetMs += 6 * 60_000;
    expect(await tick()).toBeUndefined();
    await rename(away, appliance.targetPath);
    appliance.clock.offsetMs += 6 * 60_000;

    expect(await tick()).toBe('succeeded');
    expect((await logState()).anchors).toMatchObject([{ state: 'current', problem: null }]);
    const failed = await appliance.deps.db
      .selectFrom('audit_entries')
      .select('result')
      .where('action', '=', 'backups.anchor.failed')
      .execute();
    expect(failed).toEqual([{ result: 'failed' }]);
  });

  test('does not fail a snapshot that reached it', async () => {
    await appliance.takeSnapshot();
    await writeFile(join(appliance.targetPath, 'anchors-file'), '');
    await rename(join(appliance.targetPath, 'anchors'), join(appliance.targetPath, 'anchors-before'));
    await rename(join(appliance.targetPath, 'anchors-file'), join(appliance.targetPath, 'anchors'));

    await appliance.takeSnapshot();

    expect((await logState()).anchors).toMatchObject([{ state: 'failing' }]);
  });
});

describe('a copy of this appliance, or one that was set back', () => {
  /** Anchors an hour later, then goes back to the state before, database and keyring. */
  async function goBack(): Promise<{ end(): Promise<void> }> {
    await appliance.takeSnapshot();
    const { dataDir, killKeyd } = appliance;
    await killKeyd();
    await cp(join(dataDir, 'keyring'), join(dataDir, 'keyring-before'), { recursive: true });
    const ahead = await startTestKeyd(dataDir);
    const size = await treeSize(appliance.deps.db);
    appliance.clock.offsetMs = HOUR_MS;
    expect(await tick()).toBe('succeeded');
    await ahead.kill('SIGKILL');
    await rm(join(dataDir, 'keyring'), { recursive: true });
    await rename(join(dataDir, 'keyring-before'), join(dataDir, 'keyring'));
    await withClient(appliance.database.adminAddress, 'superuser', (client) =>
      client.query(`
        set session_replication_role = 'replica';
        delete from audit_checkpoints where size > ${size}; delete from audit_leaves where position >= ${size};
        delete from audit_entries where number not in (select entry_number from audit_leaves)`),
    );
    const keyd = await startTestKeyd(dataDir);
    return { end: () => keyd.kill('SIGTERM') };
  }

  const quarantineReason = async () => {
    const reply = appliance.console.call<{ quarantine: { reason: string } }>('GET', '/quarantine');
    return (await expectStatus(reply, 200)).quarantine.reason;
  };

  test('finds its own log ahead of itself, waits in quarantine, and signs and writes nothing more', async () => {
    const { end } = await goBack();
    const before = await anchorFiles();
    appliance.clock.offsetMs = 2 * HOUR_MS;

    const state = await tick();

    expect(state).toBe('failed');
    expect(await quarantineReason()).toMatch(
      /checkpoint of the audit log at \d+ entries, .* has come to \d+/,
    );
    expect(await anchorFiles()).toEqual(before);
    expect(await tick()).toBeUndefined();
    await end();
  });

  test('finds that its own log has other entries, once it has as many', async () => {
    const { end } = await goBack();
    await writeEntries(appliance.deps.db, 50);
    // As an export does.
    await makeCheckpoint(appliance.deps);
    const before = await anchorFiles();
    appliance.clock.offsetMs = 3 * HOUR_MS;

    expect(await tick()).toBe('failed');

    expect(await quarantineReason()).toMatch(/which itself has other entries there/);
    expect(await anchorFiles()).toEqual(before);
    await end();
  });

  test('goes on as a log of another id once the owner has released it', async () => {
    const { end } = await goBack();
    await writeEntries(appliance.deps.db, 50);
    appliance.clock.offsetMs = 2 * HOUR_MS;
    await tick();
    const before = await appliance.deps.keys.auditHead();

    await releaseFromQuarantine(appliance.deps, systemActor('tests'));
    appliance.clock.offsetMs = 3 * HOUR_MS;

    expect(await tick()).toBe('succeeded');
    expect((await appliance.deps.keys.auditHead()).origin).not.toBe(before.origin);
    const run = await verification();
    expect(run).toMatchObject({ state: 'succeeded' });
    await end();
  });
});

const verification = async () => {
  await expectStatus(appliance.console.call('POST', '/audit/verifications'), 202);
  return appliance.performRun();
};

describe('reading them back', () => {
  test('every anchor of a target fits the log, and a damaged one is named', async () => {
    await appliance.takeSnapshot();
    appliance.clock.offsetMs = HOUR_MS;
    await tick();
    const [first = ''] = await anchorFiles();
    const path = join(appliance.targetPath, 'anchors', first);
    await chmod(path, 0o600);
    await writeFile(path, 'rubbish');
    const target = await openTarget({ kind: 'directory', path: appliance.targetPath });

    const { heads, unreadable } = await readKeptHeads(target, 'copy');
    await target.close();

    expect(unreadable).toEqual([`anchors/${first}`]);
    expect(heads).toHaveLength(1);
    const { trustRoot, repositoryId } = appliance.kit;
    const trust = trustInRoot(Buffer.from(trustRoot, 'base64'), repositoryId);
    const verifier = createLogVerifier({ trust, kept: heads });
    for await (const line of exportLog(appliance.deps)) verifier.line(Buffer.from(line));
    expect(verifier.end()).toMatchObject({ ok: true, kept: { given: 1, believed: 1 } });
  });
});

describe('verifying the own log', () => {
  test('says that it is well, with the anchors compared', async () => {
    await appliance.takeSnapshot();

    const run = await verification();

    expect(run).toMatchObject({ state: 'succeeded', result: { findings: 0, ok: true } });
    const { verification: last } = await logState();
    expect(last).toMatchObject({ ok: true, findingCount: 0, runId: run.id });
  });

  test('names what a superuser of the database did, also when the checkpoints went with it', async () => {
    await appliance.takeSnapshot();
    await withClient(appliance.database.adminAddress, 'superuser', (client) =>
      client.query(`
        set session_replication_role = 'replica';
        delete from audit_checkpoints;
        delete from audit_leaves where position >= 3;
        delete from audit_entries where number not in (select entry_number from audit_leaves)`),
    );

    const run = await verification();

    expect(run).toMatchObject({ state: 'failed', error: { code: 'integrity_failure' } });
    const { verification: last, problem } = await logState();
    expect(last?.findings.map(({ code }) => code)).toContain('rolled-back');
    expect(problem).toMatchObject({ code: 'integrity_failure' });
  });

  test('is not started twice', async () => {
    await appliance.takeSnapshot();
    await expectStatus(appliance.owner.call('POST', '/audit/verifications'), 202);

    expect((await appliance.owner.call('POST', '/audit/verifications')).status).toBe(409);
  });

  test('happens once a week by itself', async () => {
    const queued = async () =>
      (await appliance.deps.db.selectFrom('runs').select('kind').where('state', '=', 'queued').execute())
        .length;
    await verifyWhenDue(appliance.deps);
    expect(await queued()).toBe(0);
    await appliance.takeSnapshot();

    await verifyWhenDue(appliance.deps);
    await verifyWhenDue(appliance.deps);
    expect(await queued()).toBe(1);
    await appliance.performRun();
    await verifyWhenDue(appliance.deps);
    expect(await queued()).toBe(0);
    appliance.clock.offsetMs = 8 * 24 * HOUR_MS;
    await verifyWhenDue(appliance.deps);
    expect(await queued()).toBe(1);
  });
});
