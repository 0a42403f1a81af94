/**
 * The process `holdfast-recovery-page`: answers on the HTTPS port while hostd has stopped the server for a recovery. Started and
 * ended by hostd; its certificate is the one that the machine showed before.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  buildRecoveryPage,
  connectHost,
  HOST_SOCKET,
  requireHost,
  type RecoveryStatus,
} from './appliance/host/index.ts';
import { credentialsDirectory, loadConfig } from './lib/config.ts';
import { HoldfastError } from './lib/errors.ts';
import { createLog } from './lib/log.ts';

const PORT = 443;

const config = loadConfig();
const log = createLog(config.logLevel, 'recovery-page');
const host = requireHost(connectHost({ hostSocket: config.hostSocket ?? HOST_SOCKET }));
const folder = credentialsDirectory();
if (folder === undefined) {
  throw new HoldfastError('invalid_input', 'This program is started by systemd, with a certificate');
}
const [certificate, key] = await Promise.all(
  ['certificate.pem', 'key.pem'].map((name) => readFile(join(folder, name), 'utf8')),
);
const page = await buildRecoveryPage({
  tls: { certificate: certificate ?? '', key: key ?? '' },
  log,
  status: () => host.get<RecoveryStatus>('/recovery'),
});
// On every address; a kernel without IPv6 has only the others.
await page.listen({ host: existsSync('/proc/net/if_inet6') ? '::' : '0.0.0.0', port: PORT });
log.info({ port: PORT }, 'The recovery page answers');

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    void page.close().then(() => process.exit(0));
  });
}
