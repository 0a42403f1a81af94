/** What makes this machine this one: the number that its firmware has, which a copy of a virtual machine gets anew. */
import { createHash } from 'node:crypto';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { readFileIfPresent } from '../../lib/files.ts';

const FIRMWARE_UUID = '/sys/class/dmi/id/product_uuid';
/** What firmware says that was never given a number. */
const NO_NUMBER = /^(0{8}-(0{4}-){3}0{12}|f{8}-(f{4}-){3}f{12}|03000200-0400-0500-0006-000700080009)$/i;

/** @returns a hash of it; undefined where the machine has none that tells it apart. */
export async function readMachineIdentity(path = FIRMWARE_UUID): Promise<string | undefined> {
  const text = (await readFileIfPresent(path).catch(() => undefined))?.toString('utf8').trim().toLowerCase();
  if (text === undefined || text === '' || NO_NUMBER.test(text)) return undefined;
  return createHash('sha256').update(`holdfast machine ${text}`).digest('hex');
}

export const identityRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/identity',
    { schema: { response: { 200: Type.Object({ identity: Type.Union([Type.String(), Type.Null()]) }) } } },
    async () => ({ identity: (await readMachineIdentity()) ?? null }),
  );
};
