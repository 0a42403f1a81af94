/** Entries chosen by a filter, each with its own proof; and the hands of somebody who changes such a file, or the database below it. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSelectionVerifier, type SelectionReport } from '../../server/audit/index.ts';
import { exportSelection } from '../../server/audit/export-selection.ts';
import type { AuditFilter } from '../../server/audit/schema.ts';
import { trustInRoot } from '../../server/keys/index.ts';
import { runHoldfast } from '../helpers/served-appliance.ts';
import { writeEntries, writeEntry } from './log-place.ts';
import { makeSignedLog, type SignedLog } from './signed-log.ts';

async function select(log: SignedLog, filter: AuditFilter): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of await exportSelection(log.deps, filter)) lines.push(line);
  return lines;
}

function verify(log: SignedLog, lines: readonly string[], root = log.kit.trustRoot): SelectionReport {
  const verifier = createSelectionVerifier(trustInRoot(root, log.kit.repositoryId));
  for (const line of lines) verifier.line(Buffer.from(line));
  return verifier.end();
}

const codes = (report: SelectionReport): string[] => report.findings.map(({ code }) => code);
const isEntry = (line: string): boolean => line.startsWith('{"action":');

describe('what is refused', () => {
  test('a log that was never signed gives none', async () => {
    const log = await makeSignedLog();
    await log.writeOne();

    const unsigned = exportSelection(
      { ...log.deps, keys: await log.place.connect('worker') },
      { action: 'tests.thing.done' },
    );

    await expect(unsigned).rejects.toMatchObject({ code: 'forbidden' });
  });

  test('an address that is none is said before anything is given out', async () => {
    const log = await makeSignedLog();

    await expect(exportSelection(log.deps, { address: 'here' })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });

  test('a file that is no selection is not taken for one', async () => {
    const log = await makeSignedLog();
    const lines = await log.export();

    expect(() => verify(log, lines)).toThrow(/not a selection/);
    expect(() => verify(log, [])).toThrow(/not a selection/);
  });
});

describe('a selection', () => {
  test('holds every entry that fits, over several tiles and pages, and each verifies', async () => {
    const log = await makeSignedLog();
    for (let round = 0; round < 6; round += 1) {
      await writeEntries(log.database.db, 100);
      await writeEntries(log.database.db, 75, { action: 'tests.thing.seen' });
      if (round % 2 === 0) await log.sign();
    }

    const lines = await select(log, { action: 'tests.thing.seen' });

    expect(verify(log, lines)).toMatchObject({
      ok: true,
      filter: { action: 'tests.thing.seen' },
      entries: 450,
      proven: 450,
      uncovered: 0,
      head: { size: 1050 },
    });
  });

  test('of nothing that fits says so, and verifies', async () => {
    const log = await makeSignedLog();
    await log.write(3);

    expect(verify(log, await select(log, { action: 'tests.never.done' }))).toMatchObject({
      ok: true,
      entries: 0,
    });
  });

  test('is believed by the right trust root only', async () => {
    const log = await makeSignedLog();
    await log.write(3);

    const report = verify(log, await select(log, {}), Buffer.alloc(32, 1));

    expect(report).toMatchObject({ ok: false, proven: 0 });
    expect(codes(report)).toEqual(['key-replaced']);
  });
});

describe('a selection that was changed', () => {
  test('is named: edited, cut, put in twice, swapped, without its checkpoint', async () => {
    const log = await makeSignedLog();
    await log.write(300);
    const lines = await select(log, {});
    const at = lines.findIndex(isEntry) + 20;
    const changed = (change: (lines: string[]) => void): string[] => {
      const copy = [...lines];
      change(copy);
      return codes(verify(log, copy));
    };

    expect(changed((copy) => (copy[at] = (copy[at] ?? '').replace('"done"', '"failed"')))).toEqual([
      'edited',
    ]);
    expect(changed((copy) => copy.pop())).toEqual(['truncated']);
    expect(changed((copy) => copy.splice(at - 1, 2))).toEqual(['truncated']);
    for (const line of [lines[at] ?? '', 'anything', ''])
      expect(changed((copy) => copy.push(line))).toEqual(['added']);
    expect(changed((copy) => copy.push(...copy.splice(at - 1, 2, ...copy.slice(at + 1, at + 3))))).toContain(
      'added',
    );
    expect(changed((copy) => ([copy[at], copy[at + 2]] = [copy[at + 2] ?? '', copy[at] ?? '']))).toEqual([
      'edited',
      'edited',
    ]);
    expect(changed((copy) => copy.splice(2, 1))).toEqual(['unsigned']);
    expect(changed((copy) => (copy[at - 1] = 'nonsense'))).toContain('malformed');
  });

  test('is named where a superuser changed the entry in the database', async () => {
    const log = await makeSignedLog();
    await log.write(300);
    await log.sign();
    await log.tamper(`update audit_entries set address = '192.0.2.1' where number = 77`);

    const report = verify(log, await select(log, {}));

    expect(report).toMatchObject({ ok: false, entries: 300, proven: 299 });
    expect(report.findings).toMatchObject([{ code: 'edited', position: 76 }]);
  });

  test('is named where a superuser put an entry in, or took its place away', async () => {
    const log = await makeSignedLog();
    await log.write(10);
    await log.sign();
    await log.tamper(`insert into audit_entries (id, at, actor_kind, action, object_type, result, salt)
      values (gen_random_uuid(), now(), 'system', 'tests.thing.done', 'thing', 'done', decode(repeat('ab', 16), 'hex'))`);

    expect(codes(verify(log, await select(log, {})))).toEqual(['added']);
  });
});

test('the command verifies one without an appliance, and ends with 1 for a changed one', async () => {
  const log = await makeSignedLog();
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-selection-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const id = await writeEntry(log.database.db, { action: 'tests.thing.wanted' });
  const text = `${(await select(log, { action: 'tests.thing.wanted' })).join('\n')}\n`;
  const file = join(folder, 'selection.jsonl');
  const run = async (content: string) => {
    await writeFile(file, content);
    const root = log.kit.trustRoot.toString('base64');
    return runHoldfast(['audit', 'verify', file, '--trust-root', root], { dataDir: folder });
  };

  const good = await run(text);
  const bad = await run(text.replace(id, '11111111-2222-4333-8444-555555555555'));

  expect(good.stdout).toMatch(/^1 entry in the log, unchanged\n/);
  expect(good.stdout).toMatch(/note: A selection proves .* not that none was left out/);
  expect(bad.stdout).toMatch(/NOT as it was written: 1 finding; 0 entries proven\n[^]* {2}edited: Entry 1 /);
  expect([good.exitCode, bad.exitCode]).toEqual([0, 1]);
});
