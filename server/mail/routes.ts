import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Id, NoContent } from '../lib/shapes.ts';
import { cancelMessage, listMail, retryMessage } from './mail-log.ts';
import { mailState } from './mail-state.ts';
import {
  MailPage,
  MailQuery,
  MailSettingsChange,
  MailSettingsReply,
  MailStateReply,
  TestRequest,
  TestResult,
} from './schema.ts';
import type { SendDeps } from './send-mail.ts';
import { changeMailSettings, readMailSettings, removeMailSettings } from './settings.ts';
import { sendTestMessage } from './test-message.ts';

const tags = ['mail'];
const ById = Type.Object({ id: Id });

export const mailRoutes =
  (deps: SendDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/settings/mail',
      {
        config: { access: { right: 'settings.read' }, background: true },
        schema: { tags, summary: 'The mail server and how it does', response: { 200: MailSettingsReply } },
      },
      () => readMailSettings(deps),
    );
    app.put(
      '/settings/mail',
      {
        // Links that open accounts go out by it.
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Set the mail server; the password is write-only' },
          body: MailSettingsChange,
          response: { 200: MailSettingsReply },
        },
      },
      (request) => changeMailSettings(deps, request.body, request.actor),
    );
    app.delete(
      '/settings/mail',
      {
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: { tags, summary: 'Send no mail any more', response: { 204: NoContent } },
      },
      async (request, reply) => {
        await removeMailSettings(deps, request.actor);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/settings/mail/test',
      {
        config: { access: { right: 'settings.change' } },
        schema: {
          ...{ tags, summary: "Send a test message at once, with the server's answer" },
          body: TestRequest,
          response: { 200: TestResult },
        },
      },
      (request) => sendTestMessage(deps, { to: request.body.to, userId: signedInAs(request) }, request.actor),
    );
    app.get(
      '/mail/state',
      {
        config: { access: { right: 'operations.read' }, background: true },
        schema: { tags, summary: 'Whether mail can be sent', response: { 200: MailStateReply } },
      },
      () => mailState(deps.db),
    );
    app.get(
      '/mail',
      {
        config: { access: { right: 'mail.read' } },
        schema: {
          ...{ tags, summary: 'What was sent, waits or failed, newest first' },
          querystring: MailQuery,
          response: { 200: MailPage },
        },
      },
      (request) => listMail(deps, request.query),
    );
    app.post(
      '/mail/:id/retry',
      {
        config: { access: { right: 'mail.manage' } },
        schema: { tags, summary: 'Try a message again now', params: ById, response: { 204: NoContent } },
      },
      async (request, reply) => {
        await retryMessage(deps, request.params.id, request.actor);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/mail/:id/cancel',
      {
        config: { access: { right: 'mail.manage' } },
        schema: {
          tags,
          summary: 'Do not send a waiting message',
          params: ById,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await cancelMessage(deps, request.params.id, request.actor);
        return reply.status(204).send(null);
      },
    );
  };

/** Nobody on the console socket. */
function signedInAs(request: FastifyRequest): string | undefined {
  return request.actor.kind === 'user' ? request.actor.id : undefined;
}
