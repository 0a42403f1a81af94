/**
 * A oneshot of systemd after a set-up by file that succeeded: erases the file and its secrets from memory, and remembers that it is
 * over, because the cloud hands over the same file at every start.
 */
import {
  eraseSetupFile,
  hostPlaces,
  noteCloudDisc,
  openJournal,
  readRecoveryStatus,
  recordSetupDone,
} from './appliance/host/index.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig } from './lib/config.ts';
import { createLog } from './lib/log.ts';

const log = createLog(loadConfig().logLevel, 'setup');
const places = hostPlaces();

// A set-back runs in the same unit: it is no set-up.
if ((await readRecoveryStatus(places)).act === 'recovery') {
  await openJournal(places.state, systemClock).append(
    { kind: 'system', label: 'setup' },
    { action: 'host.setup.finished', objectType: 'setup' },
  );
  await recordSetupDone({ places, clock: systemClock });
  await noteCloudDisc(places);
}
await eraseSetupFile(places);
log.info('The work by file is over; the file is erased');
