/**
 * Acts outside the application: unlocking, disks, updates, power, the console. One JSON object a line in
 * /state/journal.jsonl; the server enters them in the audit log when it next starts or hears of one.
 *
 * Guarantees: an act that `append` returned for is in the audit log exactly once, whatever is killed in between. Each has an
 * id of its own, which becomes the id of the audit entry, so that entering it twice is noticed; it leaves this file only after
 * the server said that its transaction is committed. A last line that a power cut tore was never acknowledged and is dropped.
 */
import { randomUUID } from 'node:crypto';
import { open, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { Value } from 'typebox/value';
import type { Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { makePrivateDirectory, readFileIfPresent, syncDirectory, writeFileDurably } from '../../lib/files.ts';
import { HostAct, type HostActor } from './schema.ts';
import { withStateLock } from './state-file.ts';

/** What is told about an act; never a secret, a name of a person or content. */
export interface ActRecord {
  /** Of an act that may be told again after a kill; the audit log enters it once. A new one when absent. */
  id?: string;
  /** `host.<noun>.<past verb>`, such as `host.volume.unlocked`. */
  action: string;
  objectType: string;
  objectId?: string;
  result?: 'done' | 'refused' | 'failed';
  detail?: Record<string, unknown>;
}

export interface ActJournal {
  /** Durable when it returns; the id is that of the later audit entry. */
  append(actor: HostActor, act: ActRecord): Promise<string>;
  /** What is not in the audit log yet, oldest first. */
  list(limit?: number): Promise<HostAct[]>;
  /** Takes out what the audit log has. */
  remove(ids: readonly string[]): Promise<void>;
}

/** Beyond this, refused attempts (which strangers can cause) are not written any more; what was done always is. */
const REFUSED_LIMIT_BYTES = 4 * 1024 * 1024;
const DETAIL_LIMIT_CHARACTERS = 8_000;

export function openJournal(stateDir: string, clock: Clock): ActJournal {
  const path = join(stateDir, 'journal.jsonl');
  const locked = <T>(act: () => Promise<T>) => withStateLock(join(stateDir, 'journal.lock'), act);
  return {
    append: (actor, act) =>
      locked(async () => {
        const entry = makeAct(clock, actor, act);
        await appendLine(path, `${JSON.stringify(entry)}\n`, act.result === 'refused');
        return entry.id;
      }),
    list: (limit = Infinity) => locked(async () => (await readActs(path)).slice(0, limit)),
    remove: (ids) =>
      locked(async () => {
        const gone = new Set(ids);
        const kept = (await readActs(path)).filter((act) => !gone.has(act.id));
        await writeFileDurably(path, kept.map((act) => `${JSON.stringify(act)}\n`).join(''), {
          step: 'host.journal.removed',
        });
      }),
  };
}

function makeAct(clock: Clock, actor: HostActor, act: ActRecord): HostAct {
  const detail = act.detail ?? {};
  const fits = JSON.stringify(detail).length <= DETAIL_LIMIT_CHARACTERS;
  return {
    id: act.id ?? randomUUID(),
    at: clock.now().toISOString(),
    actor,
    action: act.action,
    objectType: act.objectType,
    objectId: act.objectId ?? null,
    result: act.result ?? 'done',
    detail: fits ? detail : { tooLong: true },
  };
}

async function appendLine(path: string, line: string, mayBeLeftOut: boolean): Promise<void> {
  await makePrivateDirectory(join(path, '..'), 0o755);
  const present = await readFileIfPresent(path);
  if (mayBeLeftOut && (present?.length ?? 0) > REFUSED_LIMIT_BYTES) return;
  // What a power cut tore would otherwise grow together with this line.
  const whole = present === undefined ? 0 : present.lastIndexOf(0x0a) + 1;
  if (present !== undefined && whole < present.length) await truncate(path, whole);
  const handle = await open(path, 'a', 0o600);
  try {
    await handle.writeFile(line);
    crashPoint('host.journal.written');
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (present === undefined) await syncDirectory(join(path, '..'));
  crashPoint('host.journal.synced');
}

/** A line that is no act of ours stays out of the audit log; the rest must not be lost for it. */
async function readActs(path: string): Promise<HostAct[]> {
  const content = await readFileIfPresent(path);
  if (content === undefined) return [];
  const lines = content.toString('utf8').split('\n').slice(0, -1);
  return lines.flatMap((line) => {
    try {
      const value: unknown = JSON.parse(line);
      return Value.Check(HostAct, value) ? [value] : [];
    } catch {
      return [];
    }
  });
}
