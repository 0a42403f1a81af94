/** A recovery in a process of its own, for crash tests: `node recover-child.ts <target> <kit file> <data folder>`; all is agreed to. */
import { readFileSync } from 'node:fs';
import { recoverAppliance } from '../../server/backups/recover.ts';
import { parseRecoveryKit } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';

const [target = '', kitFile = '', dataDir = ''] = process.argv.slice(2);
const { kit } = parseRecoveryKit(readFileSync(kitFile, 'utf8'));
if (kit === undefined) throw new Error('not a whole kit');
const report = await recoverAppliance({
  target: { kind: 'directory', path: target },
  kit,
  dataDir,
  clock: systemClock,
  confirm: async () => true,
  signal: new AbortController().signal,
});
process.stdout.write(`${JSON.stringify(report)}\n`);
