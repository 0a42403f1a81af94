import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Id, NoContent } from '../../lib/shapes.ts';
import { Session } from '../schema.ts';
import { sessionCookie } from '../sessions/session-cookie.ts';
import { describeSession, type SignInDeps } from '../sign-in/sign-in.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { acceptInvitation } from './accept-invitation.ts';
import { invite, listInvitations, lookAtInvitation, resend, withdraw } from './invitations.ts';
import {
  AcceptRequest,
  Invitation,
  InvitationLook,
  InvitationsQuery,
  InviteRequest,
  LookRequest,
  SentInvitation,
} from './schema.ts';

const tags = ['invitations'];
const params = Type.Object({ id: Id });
const acts = { access: { right: 'people.manage' }, stepUp: true } as const;

export const invitationRoutes =
  (deps: PersonLifeDeps & SignInDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/invitations',
      {
        config: { access: { right: 'people.read' } },
        schema: {
          ...{ tags, summary: 'Invitations, the newest first', querystring: InvitationsQuery },
          response: { 200: Type.Object({ items: Type.Array(Invitation) }) },
        },
      },
      async ({ query }) => ({ items: await listInvitations(deps, query) }),
    );
    app.post(
      '/invitations',
      {
        config: acts,
        schema: { tags, summary: 'Invite somebody', body: InviteRequest, response: { 201: SentInvitation } },
      },
      async (request, reply) => {
        const sent = await invite(deps, request.body, originOf(request), request.actor);
        return reply.status(201).header('cache-control', 'no-store').send(sent);
      },
    );
    app.post(
      '/invitations/:id/resend',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Send a new link; the one before stops working' },
          ...{ params, response: { 200: SentInvitation } },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store');
        return resend(deps, request.params.id, originOf(request), request.actor);
      },
    );
    app.delete(
      '/invitations/:id',
      {
        config: acts,
        schema: { tags, summary: 'Withdraw an invitation', params, response: { 204: NoContent } },
      },
      async (request, reply) => {
        await withdraw(deps, request.params.id, request.actor);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/invitations/look',
      {
        config: { access: 'public' },
        schema: {
          ...{ tags, summary: 'What an invitation is for', body: LookRequest },
          response: { 200: InvitationLook },
        },
      },
      ({ body }) => lookAtInvitation(deps, body.token),
    );
    app.post(
      '/invitations/accept',
      {
        config: { access: 'public' },
        schema: {
          ...{ tags, summary: 'Accept an invitation with a name and a password' },
          ...{ body: AcceptRequest, response: { 201: Session } },
        },
      },
      async (request, reply) => {
        const userAgent = request.headers['user-agent'];
        const opened = await acceptInvitation(deps, { ...request.body, userAgent }, request.actor);
        reply
          .status(201)
          .header('set-cookie', sessionCookie(opened.token))
          .header('cache-control', 'no-store');
        return describeSession(deps, { userId: opened.userId, sessionId: opened.sessionId });
      },
    );
  };

/** Where whoever invites is: the guard has compared it with the host. */
function originOf(request: FastifyRequest): string {
  return request.headers.origin ?? `https://${request.headers.host ?? 'localhost'}`;
}
