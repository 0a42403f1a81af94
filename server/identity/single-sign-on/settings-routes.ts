/** The provider's settings, single sign-on as the only way in, and who is linked. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id, NoContent } from '../../lib/shapes.ts';
import { relyingPartyOf } from '../factors/relying-party.ts';
import { getPerson } from '../people/people.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { showLink, unlinkPerson } from './links.ts';
import { changeOnly, previewOnly } from './only-mode.ts';
import { probeProvider } from './probe.ts';
import {
  LinkedIdentity,
  OnlyChange,
  OnlyPreview,
  ProbeReply,
  ProbeRequest,
  SingleSignOnChange,
  SingleSignOnReply,
} from './schema.ts';
import { changeSettings, readSettings, removeSettings } from './settings.ts';

const tags = ['single sign-on'];
const reads = { access: { right: 'settings.read' } } as const;
const acts = { access: { right: 'settings.change' }, stepUp: true } as const;
const params = Type.Object({ id: Id });

export const singleSignOnSettingsRoutes =
  (deps: PersonLifeDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/settings/single-sign-on',
      {
        config: reads,
        schema: {
          tags,
          summary: 'The provider that people sign in at',
          response: { 200: SingleSignOnReply },
        },
      },
      (request) => readSettings(deps, relyingPartyOf(request).origin),
    );
    app.put(
      '/settings/single-sign-on',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Set the provider; the client secret is write-only' },
          ...{ body: SingleSignOnChange, response: { 200: SingleSignOnReply } },
        },
      },
      (request) => changeSettings(deps, request.body, relyingPartyOf(request).origin, request.actor),
    );
    app.delete(
      '/settings/single-sign-on',
      { config: acts, schema: { tags, summary: 'Take the provider away', response: { 204: NoContent } } },
      async (request, reply) => {
        await removeSettings(deps, request.actor);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/settings/single-sign-on/test',
      {
        config: { access: { right: 'settings.change' } },
        schema: {
          ...{ tags, summary: 'Ask a provider for its description, and say what is wrong with it' },
          ...{ body: ProbeRequest, response: { 200: ProbeReply } },
        },
      },
      (request) => probeProvider(request.body),
    );
    app.get(
      '/settings/single-sign-on/only',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'What it means for people when single sign-on is the only way in' },
          response: { 200: OnlyPreview },
        },
      },
      () => previewOnly(deps),
    );
    app.put(
      '/settings/single-sign-on/only',
      {
        config: acts,
        schema: {
          ...{
            tags,
            summary: 'Make single sign-on the only way in for everybody but owners, or one of several',
          },
          ...{ body: OnlyChange, response: { 200: OnlyPreview } },
        },
      },
      (request) => changeOnly(deps, request.body, request.actor),
    );
    app.get(
      '/people/:id/single-sign-on',
      {
        config: { access: { right: 'people.read' } },
        schema: {
          ...{ tags, summary: 'With which account of the provider a person is linked', params },
          response: { 200: Type.Object({ linked: Type.Union([LinkedIdentity, Type.Null()]) }) },
        },
      },
      async ({ params: { id } }) => {
        await getPerson(deps, id);
        return { linked: await showLink(deps, id) };
      },
    );
    app.delete(
      '/people/:id/single-sign-on',
      {
        config: { access: { right: 'people.manage' }, stepUp: true },
        schema: { tags, summary: "Take a person's link away", params, response: { 204: NoContent } },
      },
      async (request, reply) => {
        await unlinkPerson(deps, request.params.id, request.actor);
        return reply.status(204).send(null);
      },
    );
  };
