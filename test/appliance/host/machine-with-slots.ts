/**
 * A machine with two slots as the update sees it: the boot loader's memory in a file, chosen from as GRUB does by the engine's
 * own script (ORDER, x_OK, x_TRY), and an engine that writes what the real one would. What the real one does with disks is
 * shown in the virtual machine.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Rauc } from '../../../server/appliance/host/updates/rauc.ts';
import type { SlotName } from '../../../server/appliance/host/updates/schema.ts';
import { crashPoint } from '../../../server/lib/crash-point.ts';
import { writeFileDurably } from '../../../server/lib/files.ts';

export interface SlotMemory {
  order: SlotName[];
  ok: Record<SlotName, boolean>;
  tried: Record<SlotName, boolean>;
  /** Version of the system in each; `torn` while it is written. */
  content: Record<SlotName, string>;
}

export const FRESH: SlotMemory = {
  order: ['A', 'B'],
  ok: { A: true, B: false },
  tried: { A: false, B: false },
  content: { A: '1.0.0', B: 'empty' },
};

export function readMemory(top: string): SlotMemory {
  return JSON.parse(readFileSync(join(top, 'slots.json'), 'utf8')) as SlotMemory;
}

export async function writeMemory(top: string, memory: SlotMemory): Promise<void> {
  await writeFileDurably(join(top, 'slots.json'), JSON.stringify(memory));
}

/** What the boot loader does: the first good slot that was not tried yet; after all were, it begins anew. */
export async function bootLoader(top: string): Promise<SlotName> {
  const memory = readMemory(top);
  const good = memory.order.filter((slot) => memory.ok[slot]);
  let chosen = good.find((slot) => !memory.tried[slot]);
  if (chosen === undefined) {
    memory.tried = { A: false, B: false };
    chosen = good[0];
  }
  if (chosen === undefined) throw new Error('no slot can be started');
  memory.tried[chosen] = true;
  await writeMemory(top, memory);
  return chosen;
}

/** @param newVersion what an install puts into the other slot. */
export function slotEngine(
  top: string,
  booted: SlotName,
  reader: Pick<Rauc, 'info'>,
  newVersion: string,
): Rauc {
  const other: SlotName = booted === 'A' ? 'B' : 'A';
  const change = async (act: (memory: SlotMemory) => void) => {
    const memory = readMemory(top);
    act(memory);
    await writeMemory(top, memory);
  };
  return {
    info: (path) => reader.info(path),
    slots: async () => {
      const memory = readMemory(top);
      return (['A', 'B'] as const).map((name) => ({
        name,
        booted: name === booted,
        primary: memory.order[0] === name,
        good: memory.ok[name],
        version: memory.content[name],
        installedAt: null,
      }));
    },
    async install(_path, onProgress) {
      await change((memory) => {
        memory.ok[other] = false;
        memory.content[other] = 'torn';
      });
      onProgress(40);
      crashPoint('engine.torn');
      await change((memory) => {
        memory.content[other] = newVersion;
      });
      crashPoint('engine.written');
      await change((memory) => {
        memory.order = [other, booted];
        memory.ok[other] = true;
        memory.tried[other] = false;
      });
      crashPoint('engine.activated');
    },
    async mark(what, which) {
      const slot = which === 'booted' ? booted : other;
      await change((memory) => {
        memory.ok[slot] = what !== 'bad';
        memory.tried[slot] = false;
        if (what === 'active') memory.order = slot === 'A' ? ['A', 'B'] : ['B', 'A'];
      });
    },
    mount: () => Promise.reject(new Error('not on this machine')),
  };
}
