/**
 * What hostd keeps of the opening in memory, beside the files that sshd reads: it survives a restart of hostd and nothing else. The
 * packet filter is made from it whenever it is made anew.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import type { HostPlaces } from '../host-places.ts';
import { HostActor } from '../schema.ts';
import { readStateFile, writeStateFile } from '../state-file.ts';
import { SshWindow } from './schema.ts';

const SshNote = Type.Object({ window: SshWindow, openedBy: HostActor });
export type SshNote = Static<typeof SshNote>;

/** In memory, for root alone. */
export function sshRunFolder(places: Pick<HostPlaces, 'run'>): string {
  return join(places.run, 'ssh');
}

/** @returns undefined while SSH is off. */
export function readSshNote(places: Pick<HostPlaces, 'run'>): Promise<SshNote | undefined> {
  return readStateFile(join(sshRunFolder(places), 'window.json'), SshNote);
}

export async function writeSshNote(places: Pick<HostPlaces, 'run'>, note: SshNote): Promise<void> {
  await writeStateFile(join(sshRunFolder(places), 'window.json'), note, { step: 'host.ssh.note' });
}

/** With all that sshd was told. */
export async function dropSshNote(places: Pick<HostPlaces, 'run'>): Promise<void> {
  await rm(sshRunFolder(places), { recursive: true, force: true });
}
