/**
 * One power-on of a machine that is set back, to be killed on the way by `test/helpers/crash-at.ts`: what `server/prepare.ts` does
 * with the folders, hostd, and the program that recovers, all in one process. Arguments: folder, place of the backups, file of the
 * kit, id of the snapshot, what a person wants. Ends with 0 when nothing is left to do.
 */
import { mkdir, mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hostPlaces } from '../../../server/appliance/host/host-places.ts';
import { openJournal } from '../../../server/appliance/host/journal.ts';
import type { LookLaunch } from '../../../server/appliance/host/recovery/look-launch.ts';
import { openSetBack } from '../../../server/appliance/host/set-back/set-back.ts';
import { settleAtStart } from '../../../server/appliance/host/set-back/settle.ts';
import { recoveryFilePath } from '../../../server/appliance/host/setup-from-cloud.ts';
import { findRepository, openFoundRepository, recoverAppliance } from '../../../server/backups/index.ts';
import { readRecoveryFile } from '../../../server/cli/recovery-file.ts';
import { readWholeKit } from '../../../server/cli/secrets.ts';
import { parseRecoveryKit } from '../../../server/keys/index.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { setBackFolders } from '../../../server/lib/data-folder.ts';
import { createLog } from '../../../server/lib/log.ts';

const [top = '', place = '', kitFile = '', snapshot = '', want = ''] = process.argv.slice(2);
const places = hostPlaces(top);
const dataDir = join(places.data, 'holdfast');
const deps = {
  ...{ places, dataDir, clock: systemClock, log: createLog('error', 'test') },
  journal: openJournal(places.state, systemClock),
};
const ill = want.endsWith('ill');
const actor = { kind: 'console' as const, label: 'test' };
await mkdir(places.run, { recursive: true });
await settleAtStart(deps);

/** As the confined program looks, here. */
const launch: LookLaunch = async (input) => {
  const request = JSON.parse(input) as { path: string; kit: string };
  const target = { kind: 'directory' as const, path: request.path };
  const { kit } = parseRecoveryKit(request.kit);
  if (kit === undefined) throw new Error('not a whole kit');
  const scratch = join(await mkdtemp(join(places.run, 'look-')), 'catalogue.sqlite');
  const answer = {
    ...(await findRepository(target)),
    opened: await openFoundRepository(target, kit, scratch),
  };
  return { exitCode: 0, signal: null, stdout: JSON.stringify(answer), stderr: '' };
};

const recover = async (): Promise<boolean> => {
  const file = await readRecoveryFile(recoveryFilePath(places));
  await setBack.begin();
  await recoverAppliance({
    target: { kind: 'directory', path: file.from ?? '' },
    kit: await readWholeKit(file.kit),
    dataDir: setBackFolders(dataDir).fresh,
    ...(file.toTime === undefined
      ? { snapshot: String(file.snapshot) }
      : { point: { kind: 'time' as const, at: new Date(file.toTime) } }),
    setBack: file.setBack,
    clock: systemClock,
    confirm: async () => true,
    signal: new AbortController().signal,
  });
  await setBack.end();
  return true;
};

const nothing = async () => undefined;
const setBack = openSetBack({
  ...deps,
  ...{ launch, directories: [join(place, '..')], shares: { mountAll: async () => [] } },
  updateUnderWay: nothing,
  waitForHealth: async () => (ill ? { healthy: false, reason: 'it is ill' } : { healthy: true }),
  services: {
    stop: nothing,
    start: async () => {
      await settleAtStart(deps);
    },
    startPage: nothing,
    recover,
  },
});
const comeToRest = async () => {
  await setBack.idle();
  await setBack.keepHouse();
  await setBack.idle();
};
await setBack.resume();
await comeToRest();
const { record } = await setBack.view();
if (want.startsWith('set-back') && record === null) {
  const kit = await readFile(kitFile, 'utf8');
  const wish = {
    reason: 'The update broke the folders',
    applianceId: '00000000-0000-4000-8000-00000000abcd',
  };
  await setBack.start({ actor, place, kit, snapshot, ...wish });
}
if (want.startsWith('undo') && record?.state === 'kept' && record.undo === null)
  await setBack.undo({ actor, reason: 'It was the wrong one' });
if (want === 'discard' && record?.state === 'kept') await setBack.discard(actor);
await comeToRest();
