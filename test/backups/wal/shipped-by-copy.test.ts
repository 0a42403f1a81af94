/** A copy of the appliance that ships under the same name: what follows a snapshot in its log is not recovered over the snapshot. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256Of } from '../../../server/backups/objects/object-names.ts';
import { recoverAppliance } from '../../../server/backups/recover.ts';
import { sealObject } from '../../../server/backups/repository/object-store.ts';
import { readPiece } from '../../../server/backups/wal/fetch-log.ts';
import { listBases } from '../../../server/backups/wal/point-in-time-queries.ts';
import { walPieceName, type WalPieceName } from '../../../server/backups/wal/wal-names.ts';
import { encodeWalPiece } from '../../../server/backups/wal/wal-piece.ts';
import { connectKeyd, credentialPath, openRepositoryWriteKeys } from '../../../server/keys/index.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { dataPaths } from '../../../server/lib/data-folder.ts';
import { parseLsn } from '../../../server/lib/postgres/index.ts';
import { withKit } from '../../helpers/second-target.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { databaseNow, look, startShipping, switchOn, takeAnySnapshot } from './shipping.ts';

let appliance: StockedAppliance;
let place: string;
let moment: Date;

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'holdfast-copied-'));
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  await switchOn(appliance);
  const shipping = await startShipping(appliance);
  await shipping.caughtUp();
  await takeAnySnapshot(appliance);
  await appliance.upload('later.txt', Buffer.from('later'));
  await shipping.caughtUp();
  moment = await databaseNow(appliance);
  await appliance.upload('end.txt', Buffer.from('end'));
  await shipping.caughtUp();
  await shipping.stop();
}, 180_000);
afterAll(async () => {
  await appliance.close();
  await rm(place, { recursive: true, force: true });
});

let made = 0;
function recover() {
  const { id: kitId, identity: ageIdentity, repositoryId, trustRoot } = appliance.kit;
  return recoverAppliance({
    ...{ target: { kind: 'directory', path: appliance.targetPath }, point: { kind: 'time', at: moment } },
    ...{
      kit: { kitId, ageIdentity, repositoryId, trustRoot },
      dataDir: join(place, `new-${String(++made)}`),
    },
    ...{ clock: systemClock, confirm: async () => true, signal: new AbortController().signal },
  });
}

/** The piece that holds the end of the newest snapshot, and that end. */
async function pieceOfBase(): Promise<{ name: WalPieceName; end: bigint }> {
  const base = (await listBases(appliance.deps.db)).at(-1);
  const end = parseLsn(base?.endLsn ?? '');
  const pieces = look(appliance, (view) => view.pieces(appliance.targetId)) ?? [];
  const name = pieces.find((piece) => piece.from < end && piece.to >= end);
  if (name === undefined) throw new Error('no piece holds the end of the snapshot');
  return { name, end };
}

/** As a copy with the same keys ships it: whole, signed, and with another history before the end of the snapshot. */
async function pieceOfCopy(name: WalPieceName, end: bigint): Promise<{ path: string; stored: Buffer }> {
  const { piece, bytes } = await withKit(appliance.kit, appliance.targetPath, (repository) =>
    readPiece(repository, name),
  );
  const at = Number(end - name.from) - 1;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  const { run, keydSocket } = dataPaths(appliance.dataDir);
  const client = await connectKeyd({
    ...{
      socketPath: keydSocket,
      credentialFile: credentialPath(run, 'run'),
      role: 'run',
      clock: systemClock,
    },
  });
  try {
    const keys = await openRepositoryWriteKeys(client);
    const stored = await sealObject(await encodeWalPiece(keys.repositoryId, piece, bytes, keys), keys);
    const path = join(appliance.targetPath, walPieceName({ ...name, sha256: sha256Of(stored) }));
    return { path, stored };
  } finally {
    await client.close();
  }
}

test('a moment is not recovered where two appliances have shipped, nor where only the copy has', async () => {
  const { name, end } = await pieceOfBase();
  const copied = await pieceOfCopy(name, end);

  await writeFile(copied.path, copied.stored);
  await expect(recover()).rejects.toMatchObject({
    code: 'integrity_failure',
    message: expect.stringContaining('a copy of the appliance has shipped there too') as string,
  });

  await rm(join(appliance.targetPath, walPieceName(name)));
  await expect(recover()).rejects.toMatchObject({
    code: 'integrity_failure',
    message: expect.stringContaining('does not go on from snapshot') as string,
  });
}, 180_000);
