import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id, NoContent } from '../../lib/shapes.ts';
import type { PeopleDeps } from '../people/people.ts';
import { relyingPartyOf } from '../factors/relying-party.ts';
import { PasskeyOptions, Proof } from '../factors/schema.ts';
import { askPasskeyProof, renewProof } from '../sign-in/proof.ts';
import { dismissOwnAlerts, listSessions, revokeAllOf, revokeOthers, revokeSession } from './list-sessions.ts';
import { EndedSessions, SessionList, SessionSettings } from './schema.ts';
import { changeSessionSettings, readSessionSettings } from './session-settings.ts';
import { readSessionToken } from './session-cookie.ts';
import { renewAfterProof } from './sessions.ts';

const tags = ['identity'];
/** It is no person and has no session. */
const CONSOLE = { userId: '', role: 'owner', sessionId: '' } as const;
const ById = Type.Object({ id: Id });

export const sessionRoutes =
  (deps: PeopleDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post(
      '/session/proof',
      {
        config: { access: { right: 'account.own' }, beforeSecondFactor: true },
        schema: {
          ...{ tags, summary: 'Prove again who you are; dangerous acts ask for it' },
          body: Proof,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await renewProof(deps, request.person, request.body, {
          actor: request.actor,
          party: relyingPartyOf(request),
        });
        request.sessionRenewal ??= await renewAfterProof(deps, readSessionToken(request.headers.cookie));
        return reply.status(204).send(null);
      },
    );

    app.post(
      '/session/proof/passkey-options',
      {
        config: { access: { right: 'account.own' } },
        schema: {
          ...{ tags, summary: 'What the browser asks a passkey, to prove again who you are' },
          response: { 200: PasskeyOptions },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store');
        return { options: await askPasskeyProof(deps, request.person, relyingPartyOf(request)) };
      },
    );

    app.get(
      '/sessions',
      {
        config: { access: { right: 'account.own' } },
        schema: {
          ...{ tags, summary: 'Your sessions, and signs of misuse that you have not looked at' },
          response: { 200: SessionList },
        },
      },
      (request) => listSessions(deps, request.person),
    );

    app.delete(
      '/sessions/:id',
      {
        config: { access: { right: 'account.own' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'End a session: one of your own, or as an owner anybody’s' },
          params: ById,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await revokeSession(deps, request.person, request.params.id, request.actor);
        return reply.status(204).send(null);
      },
    );

    app.post(
      '/sessions/end-others',
      {
        config: { access: { right: 'account.own' }, stepUp: true },
        schema: { tags, summary: 'End all your sessions but this one', response: { 200: EndedSessions } },
      },
      async (request) => ({ ended: await revokeOthers(deps, request.person, request.actor) }),
    );

    app.post(
      '/sessions/dismiss-alerts',
      {
        config: { access: { right: 'account.own' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'The signs of misuse of your account were you yourself' },
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await dismissOwnAlerts(deps, request.person.userId, request.actor);
        return reply.status(204).send(null);
      },
    );

    app.get(
      '/people/:id/sessions',
      {
        config: { access: { right: 'people.manage' } },
        schema: {
          ...{ tags, summary: 'Somebody’s sessions' },
          params: ById,
          response: { 200: SessionList },
        },
      },
      ({ signedIn, params }) => listSessions(deps, signedIn ?? CONSOLE, params.id),
    );

    app.delete(
      '/people/:id/sessions',
      {
        config: { access: { right: 'people.manage' } },
        schema: {
          ...{ tags, summary: 'End all of somebody’s sessions' },
          params: ById,
          response: { 200: EndedSessions },
        },
      },
      async ({ signedIn, params, actor }) => ({
        ended: await revokeAllOf(deps, signedIn ?? CONSOLE, params.id, actor),
      }),
    );

    app.get(
      '/settings/sessions',
      {
        config: { access: { right: 'settings.read' } },
        schema: {
          ...{ tags, summary: 'How long sessions last, and what is done about signs of theft' },
          response: { 200: SessionSettings },
        },
      },
      () => readSessionSettings(deps.db),
    );

    app.put(
      '/settings/sessions',
      {
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change how long sessions last, and what is done about signs of theft' },
          body: SessionSettings,
          response: { 200: SessionSettings },
        },
      },
      (request) => changeSessionSettings(deps, request.body, request.actor),
    );
  };
