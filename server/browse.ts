/** Answers what is in a snapshot: `node server/browse.ts <id it was lent the test identity under>`, started by the server. */
import { join } from 'node:path';
import { answerBrowsing } from './backups/index.ts';
import { connectKeyd, credentialPath } from './keys/index.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig } from './lib/config.ts';
import { dataPaths } from './lib/data-folder.ts';

const config = loadConfig();
const paths = dataPaths(config.dataDir);
const keys = await connectKeyd({
  socketPath: paths.keydSocket,
  credentialFile: credentialPath(paths.run, 'browse'),
  role: 'browse',
  clock: systemClock,
});
const runId = process.argv[2] ?? '';
const browsing = await answerBrowsing({ keys, catalogueDir: join(paths.catalogue, 'browse'), runId });
process.on('message', (message) => {
  void browsing.answer(message).then((answer) => process.send?.(answer));
});
for (const event of ['SIGTERM', 'disconnect'] as const) {
  process.once(event as 'disconnect', () => {
    void browsing
      .close()
      .then(() => keys.close())
      .then(() => process.exit(0));
  });
}
