/**
 * What is remembered of updates and boots, on the state partition: it must be there before the data volume is unlocked, in
 * either slot. Guarantees: a record is the old one or the new one, whenever the power fails; one that cannot be read is set
 * aside and said, never a reason not to start.
 */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Value } from 'typebox/value';
import { Type } from 'typebox';
import { HoldfastError, isSystemError } from '../../../lib/errors.ts';
import { readFileIfPresent, writeFileDurably } from '../../../lib/files.ts';
import { withStateLock } from '../state-file.ts';
import { isFinal } from './machine.ts';
import { BootRecord, MaintenanceWindow, Update } from './schema.ts';

/** Older ones are dropped; the audit log keeps them. */
const MOST_UPDATES = 100;
const MOST_BOOTS = 20;

const History = Type.Object({
  format: Type.Literal(1),
  window: Type.Union([MaintenanceWindow, Type.Null()]),
  updates: Type.Array(Update),
});
const Boots = Type.Object({ format: Type.Literal(1), boots: Type.Array(BootRecord) });

export interface UpdateRecords {
  /** Oldest first. */
  updates(): Promise<Update[]>;
  current(): Promise<Update | undefined>;
  /** @throws HoldfastError `wrong_state` while another is under way. */
  add(update: Update): Promise<void>;
  /**
   * Changes the one of this id as it is stored, while nobody else can: what a person asked for meanwhile stays.
   *
   * @throws HoldfastError `not_found`.
   */
  change(id: string, act: (stored: Update) => Update | Promise<Update>): Promise<Update>;
  window(): Promise<MaintenanceWindow | undefined>;
  setWindow(window: MaintenanceWindow | undefined): Promise<void>;
  /** Oldest first. */
  boots(): Promise<BootRecord[]>;
  /** Adds it, or replaces the one of its boot. */
  saveBoot(boot: BootRecord): Promise<void>;
}

export function openUpdateRecords(stateDir: string): UpdateRecords {
  const historyFile = join(stateDir, 'slots', 'history.json');
  const locked = <T>(act: () => Promise<T>) => withStateLock(join(stateDir, 'slots', 'history.lock'), act);
  const bootFile = join(stateDir, 'boot.json');
  const readHistory = async () =>
    (await readRecord(historyFile, History)) ?? { format: 1 as const, window: null, updates: [] };
  const writeHistory = async (history: Awaited<ReturnType<typeof readHistory>>) => {
    await writeFileDurably(historyFile, `${JSON.stringify(history)}\n`, { step: 'update.history' });
  };
  const readBoots = async () => (await readRecord(bootFile, Boots))?.boots ?? [];
  return {
    updates: async () => (await readHistory()).updates,
    current: async () => (await readHistory()).updates.find((update) => !isFinal(update.state)),
    add: (update) =>
      locked(async () => {
        const history = await readHistory();
        refuseWhileBusy(history.updates);
        await writeHistory({ ...history, updates: [...history.updates, update].slice(-MOST_UPDATES) });
      }),
    change: (id, act) =>
      locked(async () => {
        const stored = (await readHistory()).updates.find((one) => one.id === id);
        if (stored === undefined) throw new HoldfastError('not_found', 'There is no such update');
        const changed = await act(stored);
        const history = await readHistory();
        const updates = history.updates.map((one) => (one.id === id ? changed : one));
        if (changed !== stored) await writeHistory({ ...history, updates });
        return changed;
      }),
    window: async () => (await readHistory()).window ?? undefined,
    setWindow: (window) =>
      locked(async () => writeHistory({ ...(await readHistory()), window: window ?? null })),
    boots: readBoots,
    saveBoot: (boot) =>
      locked(async () => {
        const others = (await readBoots()).filter((one) => one.bootId !== boot.bootId);
        const record = { format: 1, boots: [...others, boot].slice(-MOST_BOOTS) };
        await writeFileDurably(bootFile, `${JSON.stringify(record)}\n`, { step: 'update.boot' });
      }),
  };
}

/** @throws HoldfastError `wrong_state`. */
export function refuseWhileBusy(updates: readonly Update[]): void {
  const current = updates.find((update) => !isFinal(update.state));
  if (current === undefined) return;
  throw new HoldfastError('wrong_state', `An update to ${current.version} is under way`, {
    hint: 'Wait for it, or cancel it first.',
  });
}

async function readRecord<T extends typeof History | typeof Boots>(
  path: string,
  schema: T,
): Promise<Type.Static<T> | undefined> {
  const content = await readFileIfPresent(path);
  if (content === undefined) return undefined;
  const value = parse(content);
  if (Value.Check(schema, value)) return value;
  await rename(path, `${path}.unreadable`).catch((error: unknown) => {
    if (!isSystemError(error, 'ENOENT')) throw error;
  });
  return undefined;
}

function parse(content: Buffer): unknown {
  try {
    return JSON.parse(content.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}
