/**
 * A program that hostd runs, confined, before a recovery: says what lies in a folder, and with a recovery kit which snapshots it
 * holds. What a storage holds may be hostile, so hostd itself opens none of it. The kit comes on standard input and is written nowhere.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import type { RepositoryAnswer } from './appliance/host/index.ts';
import { findRepository, openFoundRepository } from './backups/index.ts';
import { MAX_KIT_CHARACTERS, parseRecoveryKit } from './keys/index.ts';
import { HoldfastError, messageOf } from './lib/errors.ts';

const Request = Type.Object({
  path: Type.String({ minLength: 1, maxLength: 4096 }),
  kit: Type.Optional(Type.String({ maxLength: MAX_KIT_CHARACTERS })),
  knownHead: Type.Optional(Type.Object({ number: Type.Integer(), sha256: Type.String({ maxLength: 64 }) })),
});

process.stdout.write(`${JSON.stringify(await answer())}\n`);

async function answer(): Promise<RepositoryAnswer> {
  const scratch = await mkdtemp(join(tmpdir(), 'holdfast-look-'));
  try {
    const request: unknown = JSON.parse(await text(process.stdin));
    if (!Value.Check(Request, request)) throw new HoldfastError('invalid_input', 'This is no question');
    const target = { kind: 'directory', path: request.path } as const;
    const found = await findRepository(target);
    if (request.kit === undefined) return { ...found, opened: null };
    const { kit } = parseRecoveryKit(request.kit);
    if (kit === undefined) throw new HoldfastError('invalid_input', 'Only the secret key of a kit was given');
    const catalogue = join(scratch, 'catalogue.sqlite');
    return { ...found, opened: await openFoundRepository(target, kit, catalogue, request.knownHead) };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const { code, hint } = error;
    return { error: { code, message: messageOf(error), ...(hint === undefined ? {} : { hint }) } };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
