/** hostd's verb for the hardening report. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { checkHardening, HardeningReport } from './report.ts';

export const hardeningRoutes: FastifyPluginAsyncTypebox = async (app) => {
  // One look at a time walks the system's files; who asks meanwhile gets the same answer.
  let looking: Promise<HardeningReport> | undefined;
  app.get('/hardening', { schema: { response: { 200: HardeningReport } } }, () => {
    looking ??= checkHardening().finally(() => {
      looking = undefined;
    });
    return looking;
  });
};
