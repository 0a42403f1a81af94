import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Database } from '../../lib/db.ts';
import { Id } from '../../lib/shapes.ts';
import { VerificationReportPage, VerificationReportQuery } from './schema.ts';
import { printReport, readReport, showReports } from './show-reports.ts';

const tags = ['Targets'];
const ById = Type.Object({ id: Id });

export function verificationReportRoutes(deps: { db: Database }): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get(
      '/verification-reports',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          ...{ tags, summary: 'Signed reports of verifications and of closed cycles, newest first' },
          querystring: VerificationReportQuery,
          response: { 200: VerificationReportPage },
        },
      },
      (request) => showReports(deps, request.query),
    );
    app.get(
      '/verification-reports/:id/report',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          ...{ tags, params: ById },
          summary: 'The signed report, as it was signed: two JSON lines, the report and its signature',
        },
      },
      async ({ params }, reply) => {
        const report = await readReport(deps, params.id);
        return reply
          .type('application/jsonl')
          .header('content-disposition', `attachment; filename="verification-${params.id}.jsonl"`)
          .header('cache-control', 'no-store')
          .send(report);
      },
    );
    app.get(
      '/verification-reports/:id/report.pdf',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, params: ById, summary: 'The report as PDF/A-3, the signed one attached' },
      },
      async ({ params }, reply) => {
        const pdf = await printReport(deps, params.id);
        return reply
          .type('application/pdf')
          .header('content-disposition', `attachment; filename="verification-${params.id}.pdf"`)
          .header('cache-control', 'no-store')
          .send(pdf);
      },
    );
  };
}
