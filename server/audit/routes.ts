import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { listAudit, type AuditDeps } from './service.ts';
import { AuditPage, AuditQuery } from './schema.ts';

/**
 * Who may read the log. Written out because audit stands left of identity, which enforces it; equal to
 * `READERS_OF_OPERATIONS` there, and a test holds them equal.
 */
export const AUDIT_READERS = { roles: ['owner', 'admin', 'auditor'] } as const;

export const auditRoutes =
  (deps: AuditDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/audit',
      {
        config: { access: AUDIT_READERS },
        schema: {
          tags: ['audit'],
          summary: 'The audit log, newest first',
          querystring: AuditQuery,
          response: { 200: AuditPage },
        },
      },
      (request) => listAudit(deps, request.query),
    );
  };
