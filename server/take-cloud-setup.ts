/**
 * A oneshot of systemd after cloud-init: takes over what the cloud or hypervisor says about this machine (network, data disk, a
 * set-up or recovery by file) and erases it from what cloud-init keeps. A unit of its own, because only a machine without a volume
 * waits for it: every other unlocks beside cloud-init.
 */
import {
  adoptNetworkSettings,
  hostPlaces,
  noteCloudDisc,
  openJournal,
  readOwnUuid,
  takeCloudSetup,
} from './appliance/host/index.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig } from './lib/config.ts';
import { makePrivateDirectory } from './lib/files.ts';
import { createLog } from './lib/log.ts';

const log = createLog(loadConfig().logLevel, 'cloud');
const places = hostPlaces();
const journal = openJournal(places.state, systemClock);

await makePrivateDirectory(places.run, 0o711);
const { network } = await takeCloudSetup({ places, clock: systemClock, log, journal });
if (network !== undefined) await takeNetwork(network);
if ((await readOwnUuid({ places })) !== undefined) await noteCloudDisc(places);

/** A wrong one costs the settings, not the start: the network is then as the cloud itself says. */
async function takeNetwork(given: Record<string, unknown>): Promise<void> {
  try {
    if (await adoptNetworkSettings(places, given))
      log.info('The network is set as the cloud configuration says');
  } catch (error) {
    log.error({ err: error }, 'The network settings of the cloud configuration were not taken');
  }
}
