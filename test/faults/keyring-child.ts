/**
 * A process that works on a keyring and says what was acknowledged, one JSON line each, to be killed by the test.
 * Usage: keyring-child.ts DIRECTORY STEP…   steps: put, rewrite, drop (the oldest key), fill (puts until one fails).
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
// Not by the front door: this process is started dozens of times, and age is not needed.
import { openKeyringFile } from '../../server/keys/keyring/file.ts';
import { rootKeyFile, rootKeyPath } from '../../server/keys/keyring/root-key.ts';

const [directory = '', ...steps] = process.argv.slice(2);
// A write above the size limit that the test sets raises a signal besides its error.
process.on('SIGXFSZ', () => undefined);
const file = await openKeyringFile({ directory, rootKey: rootKeyFile(rootKeyPath(directory)) });

function say(message: Record<string, unknown>): void {
  writeSync(1, `${JSON.stringify(message)}\n`);
}

async function put(): Promise<void> {
  const id = randomUUID();
  const material = randomBytes(32);
  const createdAt = '2026-01-02T03:04:05.000Z';
  const text = material.toString('hex');
  const key = {
    id,
    kind: 'subject',
    workspaceId: null,
    subject: id,
    state: 'enabled',
    createdAt,
    expiresAt: null,
  } as const;
  await file.append([{ kind: 'key', key: { ...key, versions: [{ version: 1, material, createdAt }] } }]);
  say({ put: id, material: text });
}

async function drop(): Promise<void> {
  const [id] = file.keyring().keys.keys();
  if (id === undefined) return;
  say({ dropping: id });
  await file.append([{ kind: 'drop', id }]);
  say({ dropped: id });
}

for (const step of steps) {
  if (step === 'put') await put();
  else if (step === 'drop') await drop();
  else if (step === 'rewrite') await file.rewrite();
  else if (step === 'fill') {
    for (;;) {
      try {
        await put();
      } catch (error) {
        say({ failed: String(error), keys: file.keyring().keys.size });
        break;
      }
    }
  }
}
await file.close();
say({ closed: true });
