/**
 * The ways that open the data volume: claim, add, remove, rename, test. Guarantees: there are never fewer than two, one of them a
 * recovery key that is kept elsewhere and one for every day; a way is in the list only after it was seen to open the volume; a
 * kill at any step leaves every way of the list working, and what is half done is finished or undone at the next unlocking.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import type { HostDeps } from '../host-app.ts';
import { unwrapRootKey } from './root-key.ts';
import type { AddWayRequest, ClaimVolumeRequest, HostActor, TestWayRequest, UnlockWay } from '../schema.ts';
import { forgetBegun } from '../volume/begun.ts';
import { saveHeader } from '../volume/header.ts';
import { MOST_KEYSLOTS, opensKeyslot, readHeader } from '../volume/luks.ts';
import { readVolumeNote, writeVolumeNote, type VolumeNote } from '../volume/note.ts';
import { reconcileWays } from './reconcile.ts';
import { findExistingSecret, findWaySecret, makeWay, type WaysDeps } from './secret.ts';
import { publicWay, readWays, withWaysLock, writeWays, type StoredWay, type WaysFile } from './file.ts';

const LEAST_WAYS = 2;
const MEMORY_KEYSLOT = 0;

/** Where the key of the first boot lies until the claim. */
export function memoryKeyPath(places: Pick<HostDeps['places'], 'run'>): string {
  return join(places.run, 'volume.key');
}

/**
 * Gives the volume of a first boot to its owner: recovery key and daily way open it from now on, the key in memory no longer
 * does.
 *
 * @throws HoldfastError `wrong_state` when it is claimed already, `invalid_input` for a recovery key that is none.
 */
export async function claimVolume(
  deps: WaysDeps,
  request: ClaimVolumeRequest,
  memoryKey: string,
): Promise<UnlockWay[]> {
  const secrets = [
    { kind: 'recovery-key', label: 'Recovery kit', secret: request.recoveryKey } as const,
    request.daily,
  ];
  if (request.daily.kind === 'recovery-key') {
    throw new HoldfastError('invalid_input', 'A second recovery key is no way for every day', {
      hint: 'Choose a passphrase, or the TPM of this machine.',
    });
  }
  const note = await requireNote(deps);
  return withWaysLock(deps.places, async () => {
    if (note.claimed || (await readWays(deps.places)) !== undefined) throw alreadyClaimed();
    const ways: StoredWay[] = [];
    for (const [index, way] of secrets.entries()) {
      // A claim that was cut off left slots behind that nobody needs: they are made anew.
      const keyslot = MEMORY_KEYSLOT + 1 + index;
      ways.push(await makeWay(deps, note, way, memoryKey, keyslot, { replace: true }));
      crashPoint('host.claim.slot-added');
    }
    await deps.journal.append(request.actor, {
      action: 'host.volume.claimed',
      objectType: 'volume',
      objectId: note.uuid,
      detail: { ways: ways.map((way) => way.kind) },
    });
    const file: WaysFile = {
      format: 1,
      volumeUuid: note.uuid,
      ways,
      doomedKeyslots: [MEMORY_KEYSLOT],
    };
    await writeWays(deps.places, file);
    crashPoint('host.claim.listed');
    await settle(deps, { ...note, claimed: true }, file);
    await endFirstBoot(deps);
    return ways.map(publicWay);
  });
}

/** Finishes what a process that died in the middle left half done. For the start of hostd. */
export async function finishWays(deps: WaysDeps): Promise<void> {
  const note = await readVolumeNote(deps.places);
  if (note === undefined) return;
  await withWaysLock(deps.places, async () => {
    const file = await readWays(deps.places);
    if (file?.volumeUuid !== note.uuid) return;
    if (note.claimed && file.doomedKeyslots.length === 0) return;
    await settle(deps, { ...note, claimed: true }, file);
    await endFirstBoot(deps);
  });
}

async function endFirstBoot({ places }: Pick<WaysDeps, 'places'>): Promise<void> {
  await rm(memoryKeyPath(places), { force: true });
  await forgetBegun(places);
}

/** @throws HoldfastError `wrong_key` when `openedBy` opens nothing, `wrong_state` before the claim or when there is no room. */
export async function addWay(deps: WaysDeps, request: AddWayRequest): Promise<UnlockWay> {
  const note = await requireNote(deps);
  return withWaysLock(deps.places, async () => {
    const file = await requireWays(deps);
    const existing = await findExistingSecret(deps, file, note, request.openedBy);
    const header = await readHeader(note.device);
    const taken = new Set([...(header?.keyslots ?? []), ...file.ways.map((way) => way.keyslot)]);
    const keyslot = Array.from({ length: MOST_KEYSLOTS }, (_, slot) => slot).find((slot) => !taken.has(slot));
    if (keyslot === undefined) {
      throw new HoldfastError('wrong_state', 'The volume has no room for another way', {
        hint: 'Remove one that is not needed any more.',
      });
    }
    const begun: WaysFile = { ...file, doomedKeyslots: [...file.doomedKeyslots, keyslot] };
    await writeWays(deps.places, begun);
    crashPoint('host.way.begun');
    let way: StoredWay;
    try {
      way = await makeWay(deps, note, request.way, existing, keyslot, { replace: false });
    } catch (error) {
      await settle(deps, note, begun);
      throw error;
    }
    crashPoint('host.way.slot-added');
    await deps.journal.append(request.actor, {
      action: 'host.way.added',
      objectType: 'unlock-way',
      objectId: way.id,
      detail: { kind: way.kind, keyslot },
    });
    const done: WaysFile = { ...file, ways: [...file.ways, way] };
    await writeWays(deps.places, done);
    crashPoint('host.way.listed');
    await settle(deps, note, done);
    return publicWay(way);
  });
}

/** @throws HoldfastError `wrong_state` when too few ways would be left, `not_found`. */
export async function removeWay(deps: WaysDeps, id: string, actor: HostActor): Promise<void> {
  const note = await requireNote(deps);
  await withWaysLock(deps.places, async () => {
    const file = await requireWays(deps);
    const way = requireWay(file, id);
    const left = file.ways.filter((other) => other.id !== id);
    refuseTooFew(left, note);
    await deps.journal.append(actor, {
      action: 'host.way.removed',
      objectType: 'unlock-way',
      objectId: id,
      detail: { kind: way.kind, keyslot: way.keyslot },
    });
    const doomed: WaysFile = {
      ...file,
      ways: left,
      doomedKeyslots: [...file.doomedKeyslots, way.keyslot],
    };
    await writeWays(deps.places, doomed);
    crashPoint('host.way.unlisted');
    await settle(deps, note, doomed);
  });
}

/** Kills the key slots that no way names, such as those of ways that stayed with another system disk. */
export async function removeUnknownKeyslots(deps: WaysDeps, actor: HostActor): Promise<void> {
  const note = await requireNote(deps);
  await withWaysLock(deps.places, async () => {
    const file = await requireWays(deps);
    refuseTooFew(file.ways, note);
    await deps.journal.append(actor, {
      action: 'host.keyslots.removed',
      objectType: 'volume',
      objectId: note.uuid,
      detail: { keyslots: note.unknownKeyslots },
    });
    const doomed = { ...file, doomedKeyslots: [...file.doomedKeyslots, ...note.unknownKeyslots] };
    await writeWays(deps.places, doomed);
    await settle(deps, note, doomed);
  });
}

/** @throws HoldfastError `not_found` */
export async function renameWay(
  deps: WaysDeps,
  id: string,
  label: string,
  actor: HostActor,
): Promise<UnlockWay> {
  return withWaysLock(deps.places, async () => {
    const file = await requireWays(deps);
    const renamed = { ...requireWay(file, id), label };
    await deps.journal.append(actor, {
      action: 'host.way.renamed',
      objectType: 'unlock-way',
      objectId: id,
    });
    await writeWays(deps.places, replaceWay(file, renamed));
    return publicWay(renamed);
  });
}

/**
 * Shows that a way opens the volume and the root key, now.
 *
 * @throws HoldfastError `wrong_key` when it does not, `invalid_input` when a secret is needed and not given.
 */
export async function testWay(deps: WaysDeps, id: string, request: TestWayRequest): Promise<UnlockWay> {
  const note = await requireNote(deps);
  return withWaysLock(deps.places, async () => {
    const file = await requireWays(deps);
    const way = requireWay(file, id);
    const works = await isWorking(deps, note, way, request.secret);
    await deps.journal.append(request.actor, {
      action: 'host.way.tested',
      objectType: 'unlock-way',
      objectId: id,
      result: works ? 'done' : 'refused',
      detail: { kind: way.kind },
    });
    if (!works) {
      throw new HoldfastError('wrong_key', 'This way does not open the volume', {
        hint: 'Check what was typed. If it is right, remove the way and add it anew, while another one works.',
      });
    }
    const tested = { ...way, lastTestedAt: deps.clock.now().toISOString() };
    await writeWays(deps.places, replaceWay(file, tested));
    return publicWay(tested);
  });
}

async function isWorking(
  deps: WaysDeps,
  note: VolumeNote,
  way: StoredWay,
  given: string | undefined,
): Promise<boolean> {
  try {
    const secret = await findWaySecret(deps, way, given);
    if (!(await opensKeyslot(note.device, secret, way.keyslot))) return false;
    (await unwrapRootKey(way, secret, note.uuid)).fill(0);
    return true;
  } catch (error) {
    if (error instanceof HoldfastError && ['wrong_key', 'unavailable', 'not_found'].includes(error.code))
      return false;
    throw error;
  }
}

/** Finishes a change, and tells those who ask for the state. */
async function settle(deps: WaysDeps, note: VolumeNote, file: WaysFile): Promise<void> {
  const { unknownKeyslots, lostWays } = await reconcileWays(deps.places, note.device, file);
  await writeVolumeNote(deps.places, { ...note, unknownKeyslots, lostWays });
  await saveHeader(deps.places, note.device);
}

function refuseTooFew(left: readonly StoredWay[], note: VolumeNote): void {
  const working = left.filter((way) => !note.lostWays.includes(way.id));
  const offline = working.some((way) => way.kind === 'recovery-key');
  const daily = working.some((way) => way.kind !== 'recovery-key');
  if (working.length >= LEAST_WAYS && offline && daily) return;
  throw new HoldfastError(
    'wrong_state',
    'Then there would be too few ways: a recovery key and one for every day must be left',
    { hint: 'Add another way of that kind first.' },
  );
}

async function requireNote(deps: Pick<WaysDeps, 'places'>): Promise<VolumeNote> {
  const note = await readVolumeNote(deps.places);
  if (note !== undefined) return note;
  throw new HoldfastError('wrong_state', 'No data volume is open on this machine', {
    hint: 'Unlock it first, on its unlock page or at its console.',
  });
}

async function requireWays(deps: Pick<WaysDeps, 'places'>): Promise<WaysFile> {
  const file = await readWays(deps.places);
  if (file !== undefined) return file;
  throw new HoldfastError('wrong_state', 'The data volume has no owner yet', {
    hint: 'Make the recovery kit first: with it the volume gets its ways.',
  });
}

function requireWay(file: WaysFile, id: string): StoredWay {
  const way = file.ways.find((candidate) => candidate.id === id);
  if (way !== undefined) return way;
  throw new HoldfastError('not_found', 'There is no such unlock way');
}

function replaceWay(file: WaysFile, changed: StoredWay): WaysFile {
  return { ...file, ways: file.ways.map((way) => (way.id === changed.id ? changed : way)) };
}

function alreadyClaimed(): HoldfastError {
  return new HoldfastError('wrong_state', 'The data volume has an owner already', {
    hint: 'Add ways in the settings of the appliance, under Unlocking.',
  });
}
