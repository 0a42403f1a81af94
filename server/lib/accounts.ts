/** Accounts and groups of the machine, as /etc/passwd and /etc/group list them. */
import { readFileSync } from 'node:fs';
import { HoldfastError } from './errors.ts';

/** What a machine image makes for each process: none of them may read what is another's. */
export const MACHINE_ACCOUNTS = {
  postgres: 'postgres',
  keyd: 'holdfast-keyd',
  server: 'holdfast',
  worker: 'holdfast-worker',
} as const;

export interface Account {
  name: string;
  uid: number;
  gid: number;
}

export function readAccounts(): Account[] {
  return readEntries('/etc/passwd')
    .map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }))
    .filter((account) => account.name !== '' && Number.isInteger(account.uid));
}

/** @throws HoldfastError `unavailable` when there is none of that name. */
export function findAccount(name: string): Account {
  const found = readAccounts().find((account) => account.name === name);
  if (found !== undefined) return found;
  throw new HoldfastError('unavailable', `This machine has no account ${name}`, {
    hint: 'The machine image makes it. Elsewhere, run `holdfast serve` under one account of yours.',
  });
}

/** Number of a group. @throws HoldfastError `unavailable` when there is none of that name. */
export function findGroupId(name: string): number {
  const found = readEntries('/etc/group').find(([entry]) => entry === name);
  const gid = Number(found?.[2]);
  if (found !== undefined && Number.isInteger(gid)) return gid;
  throw new HoldfastError('unavailable', `This machine has no group ${name}`, {
    hint: 'HOLDFAST_SHARED_GROUP names a group that the machine image makes.',
  });
}

function readEntries(path: string): string[][] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
}
