/**
 * One power-on of a machine with two slots, to be killed on the way by `test/helpers/crash-at.ts`: boot loader, boot-good and
 * hostd in one process, and the server's part of an update. Arguments: folder, what a person wants. Ends with 75 to restart,
 * with 0 when nothing is left to do.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hostPlaces } from '../../../server/appliance/host/host-places.ts';
import { openJournal } from '../../../server/appliance/host/journal.ts';
import { settleBoot } from '../../../server/appliance/host/updates/boot.ts';
import { openUpdateRecords } from '../../../server/appliance/host/updates/records.ts';
import { openUpdates } from '../../../server/appliance/host/updates/updates.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { writeFileDurably } from '../../../server/lib/files.ts';
import { createLog } from '../../../server/lib/log.ts';
import { bootLoader, readMemory, slotEngine } from './machine-with-slots.ts';

const [top = '', want = ''] = process.argv.slice(2);
const places = hostPlaces(top);
const booted = await bootLoader(top);
const version = readMemory(top).content[booted];
const wanted = want.split(',');
// A new version that does not even come up: the machine restarts by itself.
if (version === '2.0.0' && wanted.includes('panics')) process.exit(75);
await mkdir(join(top, 'etc', 'holdfast'), { recursive: true });
await writeFileDurably(places.imageFile, JSON.stringify({ product: 'holdfast', version }));

const manifest = { compatible: 'holdfast', description: '', build: null, images: ['rootfs'], signedBy: null };
const rauc = slotEngine(
  top,
  booted,
  { info: async () => ({ manifest: { ...manifest, version: '2.0.0' } }) },
  '2.0.0',
);
const bootId = randomUUID();
const journal = openJournal(places.state, systemClock);
const records = openUpdateRecords(places.state);
const reboot = () => process.exit(75);
const healthy = !(version === '2.0.0' && wanted.includes('is-ill'));
await settleBoot({
  ...{ rauc, records, journal, clock: systemClock, bootId, version, reboot },
  waitForHealth: async () =>
    healthy ? { healthy: true } : { healthy: false, reason: 'the database did not answer' },
});
const updates = openUpdates({
  ...{ places, clock: systemClock, log: createLog('error', 'test'), journal, rauc, bootId, reboot },
});
await updates.resume();
await updates.idle();
const [bundle] = await updates.store.list();
const history = await records.updates();
const actor = { kind: 'console' as const, label: 'test' };
if (history.length === 0 && bundle !== undefined) {
  await updates.install({ sha256: bundle.sha256, restart: 'manual', actor });
}
let current = await records.current();
if (current?.state === 'rehearsing') {
  const report = { runId: randomUUID(), snapshotId: 'aa', applied: [], durationMs: 1, tables: 1, notes: [] };
  await updates.advance(current.id, {
    step: 'rehearsed',
    report: { ...report, rowsBefore: '1', rowsAfter: '1' },
  });
  current = await records.current();
}
if (current?.state === 'snapshot') await updates.advance(current.id, { step: 'saved', snapshotId: 'bb' });
await updates.idle();
const settled = (await records.updates()).find((one) => one.kind === 'update' && one.state === 'confirmed');
const asked = (await records.updates()).some((one) => one.kind === 'way-back');
if (wanted.includes('goes-back') && settled !== undefined && !asked) {
  await updates.wayBack({ restart: 'manual', actor });
}
current = await records.current();
if (current?.state === 'ready' && !existsSync(join(top, 'stays'))) {
  await updates.setRestart(current.id, 'now');
  setInterval(() => undefined, 1_000);
} else {
  updates.close();
}
