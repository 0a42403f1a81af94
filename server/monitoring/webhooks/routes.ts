import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id } from '../../lib/shapes.ts';
import {
  addWebhook,
  changeWebhook,
  listDeliveries,
  listWebhooks,
  removeWebhook,
  renewSecret,
  retryDelivery,
  tryWebhook,
  type WebhookDeps,
} from './manage-webhooks.ts';
import {
  Delivery,
  DeliveryPage,
  DeliveryQuery,
  SecretChange,
  Webhook,
  WebhookChange,
  WebhookDraft,
  WebhookList,
  WebhookWithSecret,
} from './schema.ts';

const tags = ['webhooks'];
const ById = Type.Object({ id: Id });
// Whoever names a receiver decides who hears of what is not well.
const change = { access: { right: 'settings.change' }, stepUp: true } as const;

export const webhookRoutes =
  (deps: WebhookDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/webhooks',
      {
        config: { access: { right: 'settings.read' }, background: true },
        schema: { tags, summary: 'Receivers of events', response: { 200: WebhookList } },
      },
      async () => ({ items: await listWebhooks(deps) }),
    );
    app.post(
      '/webhooks',
      {
        config: change,
        schema: {
          ...{ tags, summary: 'Add a receiver of events; its secret is shown this once' },
          ...{ body: WebhookDraft, response: { 201: WebhookWithSecret } },
        },
      },
      async ({ actor, body }, reply) => reply.status(201).send(await addWebhook(deps, actor, body)),
    );
    app.put(
      '/webhooks/:id',
      {
        config: change,
        schema: {
          ...{ tags, summary: 'Change a receiver, or pause it' },
          ...{ params: ById, body: WebhookChange, response: { 200: Webhook } },
        },
      },
      ({ actor, params, body }) => changeWebhook(deps, actor, params.id, body),
    );
    app.delete(
      '/webhooks/:id',
      {
        config: change,
        schema: {
          tags,
          summary: 'Remove a receiver with its queue',
          params: ById,
          response: { 204: Type.Null() },
        },
      },
      async ({ actor, params }, reply) => {
        await removeWebhook(deps, actor, params.id);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/webhooks/:id/secret',
      {
        config: change,
        schema: {
          ...{ tags, summary: 'Make a new secret; the old one signs too for some hours' },
          ...{ params: ById, body: SecretChange, response: { 200: WebhookWithSecret } },
        },
      },
      ({ actor, params, body }) => renewSecret(deps, actor, params.id, body.overlapHours),
    );
    app.post(
      '/webhooks/:id/test',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          ...{ tags, summary: 'Send an event that says that it is a trial' },
          ...{ params: ById, response: { 202: Delivery } },
        },
      },
      async ({ actor, params }, reply) => reply.status(202).send(await tryWebhook(deps, actor, params.id)),
    );
    app.get(
      '/webhooks/:id/deliveries',
      {
        config: { access: { right: 'settings.read' }, background: true },
        schema: {
          ...{ tags, summary: 'What was sent to a receiver, the newest first' },
          ...{ params: ById, querystring: DeliveryQuery, response: { 200: DeliveryPage } },
        },
      },
      ({ params, query }) => listDeliveries(deps, params.id, query),
    );
    app.post(
      '/webhooks/:id/deliveries/:deliveryId/retry',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          ...{ tags, summary: 'Try a delivery at once that waits or was given up' },
          ...{ params: Type.Object({ id: Id, deliveryId: Id }), response: { 202: Delivery } },
        },
      },
      async ({ actor, params }, reply) =>
        reply.status(202).send(await retryDelivery(deps, actor, params.id, params.deliveryId)),
    );
  };
