/** A keyring directory of its own for a test, and records to put into it. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type KeyringFile, openKeyringFile, rootKeyFile, rootKeyPath } from '../../server/keys/index.ts';
import type { Keyring, KeyringRecord, KeyRecord } from '../../server/keys/keyring/model.ts';

export async function makeKeyringDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-keyring-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Opens it and closes it with the test. */
export async function openKeyring(directory: string): Promise<KeyringFile> {
  const file = await openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) });
  const close = file.close.bind(file);
  let closing: Promise<void> | undefined;
  const once = () => (closing ??= close());
  onTestFinished(once);
  return { ...file, close: once };
}

export function makeKey(parts: Partial<KeyRecord> = {}): KeyRecord {
  const id = parts.id ?? randomUUID();
  return {
    id,
    kind: 'subject',
    workspaceId: null,
    subject: id,
    state: 'enabled',
    createdAt: '2026-01-02T03:04:05.000Z',
    expiresAt: null,
    versions: [{ version: 1, material: randomBytes(32), createdAt: '2026-01-02T03:04:05.000Z' }],
    ...parts,
  };
}

export function put(key: KeyRecord): KeyringRecord {
  return { kind: 'key', key };
}

/** All keys as comparable text. */
export function contentOf(keyring: Keyring): string[] {
  return [...keyring.keys.values()]
    .map((key) =>
      JSON.stringify({ ...key, versions: key.versions.map((v) => [v.version, v.material.toString('hex')]) }),
    )
    .sort();
}
