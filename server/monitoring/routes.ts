import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id } from '../lib/shapes.ts';
import { acknowledge, countAlerts, showAlerts, unacknowledge, type AlertDeps } from './alerts.ts';
import type { CapacityDeps } from './capacity/measure.ts';
import { capacityRoutes } from './capacity/routes.ts';
import type { BeatDeps } from './heartbeat/beat.ts';
import { heartbeatRoutes } from './heartbeat/routes.ts';
import { Acknowledgement, Alert, AlertPage, AlertQuery, AlertSettings } from './schema.ts';
import { runLimitRoutes } from './run-limits/routes.ts';
import { changeAlertSettings, readAlertSettings } from './settings.ts';
import { webhookRoutes } from './webhooks/routes.ts';

const tags = ['alerts'];
const ById = Type.Object({ id: Id });

export const monitoringRoutes =
  (deps: AlertDeps & BeatDeps & CapacityDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    await app.register(heartbeatRoutes(deps));
    await app.register(webhookRoutes(deps));
    await app.register(runLimitRoutes(deps));
    await app.register(capacityRoutes(deps));
    app.get(
      '/alerts',
      {
        config: { access: { right: 'operations.read' }, background: true },
        schema: {
          ...{ tags, summary: 'What is not well, or was' },
          querystring: AlertQuery,
          response: { 200: AlertPage },
        },
      },
      (request) => showAlerts(deps, request.query),
    );
    app.get(
      '/alerts/count',
      {
        config: { access: { right: 'operations.read' }, background: true },
        schema: {
          ...{ tags, summary: 'How many alerts wait for somebody' },
          response: { 200: Type.Object({ unacknowledged: Type.Integer() }) },
        },
      },
      () => countAlerts(deps.db),
    );
    app.post(
      '/alerts/:id/acknowledge',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          ...{ tags, summary: 'Take care of an alert: no reminders for some days, unless it gets worse' },
          ...{ params: ById, body: Acknowledgement, response: { 200: Alert } },
        },
      },
      (request) => acknowledge(deps, request.params.id, request.body, request.actor),
    );
    app.post(
      '/alerts/:id/unacknowledge',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          ...{ tags, summary: 'Let an alert need somebody again' },
          ...{ params: ById, response: { 200: Alert } },
        },
      },
      (request) => unacknowledge(deps, request.params.id, request.actor),
    );
    app.get(
      '/settings/alerts',
      {
        config: { access: { right: 'settings.read' } },
        schema: { tags, summary: 'Who is told of alerts', response: { 200: AlertSettings } },
      },
      () => readAlertSettings(deps.db),
    );
    app.put(
      '/settings/alerts',
      {
        // Whoever makes them silent hides what they do next.
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change who is told of alerts' },
          body: AlertSettings,
          response: { 200: AlertSettings },
        },
      },
      (request) => changeAlertSettings(deps, request.body, request.actor),
    );
  };
