import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { AskedApproval, Id, NoContent } from '../../lib/shapes.ts';
import { approve, refuse, withdraw, type ApprovalDeps } from './decide.ts';
import { changeApprovalSettings, readApprovals, readApprovalSettings } from './list-approvals.ts';
import { ApprovalList, ApprovalQuery, ApprovalSettings, Refusal } from './schema.ts';

const tags = ['approvals'];
const ById = Type.Object({ id: Id });
/** It is no person: it sees, and decides nothing. */
const CONSOLE = { userId: '', role: 'auditor' } as const;

export const approvalRoutes =
  (deps: ApprovalDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/approvals',
      {
        config: { access: { right: 'approvals.read' } },
        schema: {
          ...{ tags, summary: 'What waits for a second person or for its time, and what became of the rest' },
          querystring: ApprovalQuery,
          response: { 200: ApprovalList },
        },
      },
      ({ signedIn, query }) => readApprovals(deps, signedIn ?? CONSOLE, query.state ?? 'pending'),
    );

    app.post(
      '/approvals/:id/approve',
      {
        config: { access: { right: 'approvals.decide' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Approve what another administrator asks for; it is done at once' },
          params: ById,
          response: { 204: NoContent },
        },
      },
      async ({ person, params, actor }, reply) => {
        await approve(deps, person, params.id, actor);
        return reply.status(204).send(null);
      },
    );

    app.post(
      '/approvals/:id/refuse',
      {
        config: { access: { right: 'approvals.decide' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Refuse what another administrator asks for' },
          ...{ params: ById, body: Refusal },
          response: { 204: NoContent },
        },
      },
      async ({ person, params, body, actor }, reply) => {
        await refuse(deps, person, params.id, body.reason.trim(), actor);
        return reply.status(204).send(null);
      },
    );

    app.post(
      '/approvals/:id/withdraw',
      {
        config: { access: { right: 'approvals.decide' } },
        schema: {
          ...{ tags, summary: 'Take back what you asked for' },
          params: ById,
          response: { 204: NoContent },
        },
      },
      async ({ person, params, actor }, reply) => {
        await withdraw(deps, person, params.id, actor);
        return reply.status(204).send(null);
      },
    );

    app.get(
      '/settings/approvals',
      {
        config: { access: { right: 'settings.read' } },
        schema: { tags, summary: 'How long requests last', response: { 200: ApprovalSettings } },
      },
      () => readApprovalSettings(deps.db),
    );

    app.put(
      '/settings/approvals',
      {
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change how long requests last; a shorter waiting period needs approval' },
          body: ApprovalSettings,
          response: { 200: ApprovalSettings, 202: AskedApproval },
        },
      },
      async (request, reply) => {
        const answer = await changeApprovalSettings(deps, request.body, request.actor);
        return 'approval' in answer ? reply.status(202).send(answer) : answer;
      },
    );
  };
