import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openJournal, type ActJournal } from '../../../server/appliance/host/journal.ts';
import { systemClock } from '../../../server/lib/clock.ts';

const ACTOR = { kind: 'system', label: 'unlock' } as const;
const ACT = { action: 'host.volume.unlocked', objectType: 'volume' };

let state: string;
let journal: ActJournal;
beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), 'holdfast-journal-'));
  journal = openJournal(state, systemClock);
});
afterEach(() => rm(state, { recursive: true, force: true }));

const path = () => join(state, 'journal.jsonl');

describe('the journal of the machine', () => {
  test('keeps acts in order until the audit log has them', async () => {
    expect(await journal.list()).toEqual([]);
    const ids = [];
    for (const detail of [{ n: 1 }, { n: 2 }, { n: 3 }])
      ids.push(await journal.append(ACTOR, { ...ACT, detail }));

    await journal.remove([ids[0] ?? '', ids[2] ?? '']);

    expect((await journal.list()).map((act) => act.detail)).toEqual([{ n: 2 }]);
  });

  test('drops a last line that a power cut tore, and goes on after it', async () => {
    await journal.append(ACTOR, { ...ACT, detail: { n: 1 } });
    await appendFile(path(), '{"id":"6f1e');

    expect(await journal.list()).toHaveLength(1);
    await journal.append(ACTOR, { ...ACT, detail: { n: 2 } });

    expect((await journal.list()).map((act) => act.detail)).toEqual([{ n: 1 }, { n: 2 }]);
  });

  test('passes over a line that is no act, and loses none of the others', async () => {
    await journal.append(ACTOR, ACT);
    await appendFile(path(), 'rubbish\n{"id":"x"}\n');
    await journal.append(ACTOR, ACT);

    expect(await journal.list()).toHaveLength(2);
  });

  test('takes acts of several processes at once', async () => {
    const others = [openJournal(state, systemClock), openJournal(state, systemClock)];

    await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        (others[n % 2] ?? journal).append(ACTOR, { ...ACT, detail: { n } }),
      ),
    );

    expect(await journal.list()).toHaveLength(20);
  });

  test('is not filled up by strangers: refused attempts end at a limit, what was done does not', async () => {
    await writeFile(path(), `${'x'.repeat(4 * 1024 * 1024)}\n`);

    await journal.append(ACTOR, { ...ACT, result: 'refused' });
    await journal.append(ACTOR, ACT);

    expect((await journal.list()).map((act) => act.result)).toEqual(['done']);
    expect((await readFile(path())).length).toBeLessThan(4 * 1024 * 1024 + 1_000);
  });
});
