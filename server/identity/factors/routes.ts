/** How a person signs in: their own page. Open before a second factor is there, because it is added here. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Id, NoContent } from '../../lib/shapes.ts';
import type { PeopleDeps } from '../people/people.ts';
import { sessionCookie } from '../sessions/session-cookie.ts';
import {
  addPasskey,
  beginAuthenticatorApp,
  beginPasskey,
  confirmAuthenticatorApp,
  describeWays,
  removeAuthenticatorApp,
  removePasskey,
  renamePasskey,
  renewRecoveryCodes,
  type FactorChange,
  type Self,
} from './enrolment.ts';
import { relyingPartyOf } from './relying-party.ts';
import {
  FactorAdded,
  NewAuthenticatorApp,
  OneTimeCode,
  PasskeyAttestation,
  PasskeyName,
  PasskeyOptions,
  SignInWays,
} from './schema.ts';

const tags = ['identity'];
const access = { right: 'account.own' } as const;
const OPEN = { access, beforeSecondFactor: true };
/** A session that somebody walked away from, or a stolen one, must not add or take away a factor. */
const ADDING = { ...OPEN, stepUp: true };
const CHANGING = { access, stepUp: true };
const ById = Type.Object({ id: Id });

export const factorRoutes =
  (deps: PeopleDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/me/sign-in',
      {
        config: OPEN,
        schema: { tags, summary: 'How you sign in', response: { 200: SignInWays } },
      },
      (request) => describeWays(deps, request.person, relyingPartyOf(request)),
    );

    app.post(
      '/me/authenticator-app',
      {
        config: ADDING,
        schema: {
          tags,
          summary: 'A secret for an authenticator app; it counts when a code of it was given',
          response: { 201: NewAuthenticatorApp },
        },
      },
      async (request, reply) => secret(reply, await beginAuthenticatorApp(deps, self(request))),
    );

    app.post(
      '/me/authenticator-app/confirmation',
      {
        config: OPEN,
        schema: {
          tags,
          summary: 'The first code of the app',
          body: Type.Object({ code: OneTimeCode }),
          response: { 201: FactorAdded },
        },
      },
      async (request, reply) =>
        changed(reply, await confirmAuthenticatorApp(deps, self(request), request.body.code)),
    );

    app.delete(
      '/me/authenticator-app',
      {
        config: CHANGING,
        schema: { tags, summary: 'Stop using the authenticator app', response: { 201: FactorAdded } },
      },
      async (request, reply) => changed(reply, await removeAuthenticatorApp(deps, self(request))),
    );

    app.post(
      '/me/passkeys/options',
      {
        config: ADDING,
        schema: {
          tags,
          summary: 'What the browser makes a passkey from',
          response: { 200: PasskeyOptions },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store');
        return { options: await beginPasskey(deps, self(request), relyingPartyOf(request)) };
      },
    );

    app.post(
      '/me/passkeys',
      {
        config: OPEN,
        schema: {
          tags,
          summary: 'Add the passkey that the browser made',
          body: Type.Object({ name: PasskeyName, response: PasskeyAttestation }),
          response: { 201: FactorAdded },
        },
      },
      async (request, reply) =>
        changed(reply, await addPasskey(deps, self(request), relyingPartyOf(request), request.body)),
    );

    app.patch(
      '/me/passkeys/:id',
      {
        config: { access },
        schema: {
          tags,
          summary: 'Rename a passkey',
          params: ById,
          body: Type.Object({ name: PasskeyName }),
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await renamePasskey(deps, self(request), request.params.id, request.body.name);
        return reply.status(204).send(null);
      },
    );

    app.delete(
      '/me/passkeys/:id',
      {
        config: CHANGING,
        schema: { tags, summary: 'Remove a passkey', params: ById, response: { 201: FactorAdded } },
      },
      async (request, reply) => changed(reply, await removePasskey(deps, self(request), request.params.id)),
    );

    app.post(
      '/me/recovery-codes',
      {
        config: CHANGING,
        schema: {
          tags,
          summary: 'Ten new recovery codes; those before work no more',
          response: { 201: FactorAdded },
        },
      },
      async (request, reply) =>
        secret(reply, { recoveryCodes: await renewRecoveryCodes(deps, self(request)) }),
    );
  };

/** Every change of factors ends the sessions and opens another. */
function changed(reply: FastifyReply, change: FactorChange): FactorAdded {
  reply.header('set-cookie', sessionCookie(change.session.token));
  const { recoveryCodes } = change;
  return secret(reply, recoveryCodes === undefined ? {} : { recoveryCodes });
}

function secret<T>(reply: FastifyReply, body: T): T {
  reply.status(201).header('cache-control', 'no-store');
  return body;
}

function self(request: FastifyRequest): Self {
  return { person: request.person, actor: request.actor, userAgent: request.headers['user-agent'] };
}
