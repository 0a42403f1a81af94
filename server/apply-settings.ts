/**
 * Turns the machine's settings into files of the system, before its network starts: a oneshot of systemd. Settings that cannot be
 * read leave the image's own (DHCP, the closed firewall), and are said.
 */
import {
  dropPending,
  hostNameOf,
  hostPlaces,
  readNetworkSettings,
  writeSystemFiles,
} from './appliance/host/index.ts';
import { loadConfig } from './lib/config.ts';
import { messageOf } from './lib/errors.ts';
import { createLog } from './lib/log.ts';
import { runProcess } from './lib/spawn.ts';

const log = createLog(loadConfig().logLevel, 'settings');
const places = hostPlaces();

try {
  // What was being tried when the machine stopped was not confirmed.
  await dropPending(places);
  const settings = await readNetworkSettings(places);
  await writeSystemFiles(places, settings);
  const named = await runProcess('hostname', [hostNameOf(settings)], { timeoutMs: 10_000 });
  if (named.exitCode !== 0) log.warn({ said: named.stderr.trim() }, 'The host name could not be set');
  log.info({ settings: Object.keys(settings) }, 'The settings of this machine are in place');
} catch (error) {
  log.error({ err: error }, messageOf(error));
  process.exitCode = 1;
}
