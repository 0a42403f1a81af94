/**
 * The process `holdfast-boot-good`: once in every boot, judges the slot that was started (`appliance/host/updates/boot.ts`). It
 * waits for health, not for people: while the volume waits to be unlocked, no time counts.
 */
import { readFile } from 'node:fs/promises';
import {
  createRauc,
  hostPlaces,
  openJournal,
  openUpdateRecords,
  RAUC_KEYRING,
  readImageFacts,
  settleBoot,
  systemdPower,
  waitForHealth,
  waitForUnlock,
  type Health,
} from './appliance/host/index.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig } from './lib/config.ts';
import { createLog } from './lib/log.ts';

/** From the unlocking until the appliance must be well. */
const HEALTH_MS = 15 * 60_000;

const config = loadConfig();
const log = createLog(config.logLevel, 'boot-good');
const places = hostPlaces();
const boot = await settleBoot({
  rauc: createRauc({ keyring: RAUC_KEYRING }),
  records: openUpdateRecords(places.state),
  journal: openJournal(places.state, systemClock),
  clock: systemClock,
  bootId: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
  version: (await readImageFacts(places)).version,
  waitForHealth: judge,
  reboot: () => systemdPower('restart'),
});
log.info({ ...boot }, 'The slot was judged');

async function judge({ trial }: { trial: boolean }): Promise<Health> {
  if ((await waitForUnlock()) !== 'active')
    return { healthy: false, reason: 'its volume could not be unlocked by the new version' };
  const wait = { mostMs: HEALTH_MS, giveUpEarly: trial };
  return waitForHealth({ dataDir: config.dataDir, clock: systemClock }, wait);
}
