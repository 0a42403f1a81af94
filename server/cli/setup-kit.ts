/** Set-up by file: makes the recovery kit, sealed to the operator, and proves it. */
import { readdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { BeginKitReply, RecoveryKit as KitRow } from '../appliance/index.ts';
import {
  answerKitChallenge,
  encryptAge,
  generateAgeIdentity,
  kitToJson,
  makeRecoveryKit,
} from '../keys/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { syncDirectory, writeFileDurably } from '../lib/files.ts';
import { giveVolumeItsKey, makeVolumeKey } from './setup-volume.ts';
import { tell, type SetupWork } from './setup-work.ts';

/**
 * The sealed kit is durable before it is proven: in the file that was named, under a name that says it is not proven, or in the
 * appliance. So there never is a proven kit that nobody holds, however this ends.
 */
export async function makeKit(work: SetupWork, targetPath: string): Promise<void> {
  const { file, recipient } = work.file.kit;
  const { items } = await work.client.get<{ items: KitRow[] }>('/recovery-kits');
  const waiting = file === undefined ? [] : await findUnprovenFiles(file);
  const finished = waiting.find((entry) => items.some((kit) => kit.id === entry.kitId));
  if (file !== undefined && finished !== undefined) {
    await publish(finished.path, file);
    return tell(work, 'recovery kit', 'done', `${file}, finished from an earlier run`);
  }
  if (items.length > 0) return tell(work, 'recovery kit', 'already');
  const made = await generateAgeIdentity();
  const begun = await work.client.send<BeginKitReply>('POST', '/recovery-kits', {
    recipient: made.recipient,
  });
  const { name, kind } = work.file.target;
  const volumeRecoveryKey = await makeVolumeKey(work.client);
  const kit = makeRecoveryKit({
    ...begun,
    ageIdentity: made.identity,
    volumeRecoveryKey,
    targets: [{ name, kind, location: targetPath }],
  });
  const sealed = await encryptAge(Buffer.from(kitToJson(kit)), [recipient]);
  const unproven = file === undefined ? undefined : `${file}.${begun.kitId}.unproven`;
  if (unproven === undefined) {
    const body = { sealed: sealed.toString('base64') };
    await work.client.send('PUT', `/recovery-kits/${begun.kitId}/sealed`, body);
  } else await writeFileDurably(unproven, sealed, { exclusive: true });
  if (volumeRecoveryKey !== null) await giveVolumeItsKey(work, begun.kitId, volumeRecoveryKey);
  const response = await answerKitChallenge(begun.kitId, made.identity, begun.challenge);
  await work.client.send('POST', `/recovery-kits/${begun.kitId}/proof`, { response });
  if (unproven !== undefined && file !== undefined) await publish(unproven, file);
  work.kit = { id: begun.kitId, identity: made.identity };
  const where =
    file === undefined ? 'waits in the appliance; fetch it' : `${file}; move it away from this machine`;
  tell(work, 'recovery kit', 'done', `sealed to ${recipient.slice(0, 16)}…: ${where}`);
}

async function findUnprovenFiles(file: string): Promise<{ path: string; kitId: string }[]> {
  const names = await readdir(dirname(file)).catch((cause: unknown) => {
    throw new HoldfastError(
      'invalid_input',
      `The folder for the recovery kit cannot be read: ${dirname(file)}`,
      { cause },
    );
  });
  const prefix = `${basename(file)}.`;
  return names
    .filter((name) => name.startsWith(prefix) && name.endsWith('.unproven'))
    .map((name) => ({
      path: join(dirname(file), name),
      kitId: name.slice(prefix.length, -'.unproven'.length),
    }));
}

async function publish(unproven: string, file: string): Promise<void> {
  await rename(unproven, file);
  await syncDirectory(dirname(file));
}
