import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id } from '../lib/shapes.ts';
import { assertionRoutes } from './assertions/routes.ts';
import {
  CopyChoice,
  KeySource,
  KitMaterial,
  Preflight,
  RestoreTest,
  RestoreTestMode,
  RestoreTestPage,
  RestoreTestQuery,
  RestoreTestSettings,
  StartPointTest,
  StartRestoreTest,
} from './schema.ts';
import { checkPreflight } from './preflight.ts';
import {
  printRestoreTestReport,
  readKitMaterial,
  readRestoreTestReport,
  showRestoreTest,
  showRestoreTests,
  startPointTest,
  startRestoreTest,
  type RestoreTestDeps,
} from './service.ts';
import { changeTestSettings, readTestSettings } from './settings.ts';

const tags = ['restore tests'];
const ById = Type.Object({ id: Id });
const PreflightQuery = Type.Object({
  ...CopyChoice.properties,
  mode: RestoreTestMode,
  keySource: Type.Optional(KeySource),
});

export const restoreTestRoutes =
  (deps: RestoreTestDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    await app.register(assertionRoutes(deps));

    app.get(
      '/settings/restore-tests',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          ...{ tags, summary: 'What restore tests are held to' },
          response: { 200: RestoreTestSettings },
        },
      },
      () => readTestSettings(deps.db),
    );

    app.put(
      '/settings/restore-tests',
      {
        // Whoever lowers what is aimed at hides that it is missed.
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change what restore tests are held to' },
          ...{ body: RestoreTestSettings, response: { 200: RestoreTestSettings } },
        },
      },
      ({ body, actor }) => changeTestSettings(deps, body, actor),
    );

    app.get(
      '/restore-tests',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          ...{ tags, summary: 'Restore tests, newest first' },
          querystring: RestoreTestQuery,
          response: { 200: RestoreTestPage },
        },
      },
      (request) => showRestoreTests(deps, request.query),
    );

    app.get(
      '/restore-tests/preflight',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          ...{ tags, summary: 'What a test would need, and what there is' },
          querystring: PreflightQuery,
          response: { 200: Preflight },
        },
      },
      (request) => checkPreflight(deps, request.query),
    );

    app.get(
      '/restore-tests/kit-material',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          ...{ tags, summary: 'What a page opens with the recovery kit' },
          querystring: Type.Object({ targetId: Id }),
          response: { 200: KitMaterial },
        },
      },
      (request) => readKitMaterial(deps, request.query.targetId),
    );

    app.post(
      '/restore-tests',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          ...{ tags, summary: 'Start a restore test' },
          body: StartRestoreTest,
          response: { 202: RestoreTest },
        },
      },
      async (request, reply) => {
        const test = await startRestoreTest(deps, request.actor, request.body);
        return reply.status(202).send(test);
      },
    );

    app.post(
      '/restore-tests/point-in-time',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          ...{ tags, summary: 'Start a restore test of a chosen moment' },
          body: StartPointTest,
          response: { 202: RestoreTest },
        },
      },
      async (request, reply) =>
        reply.status(202).send(await startPointTest(deps, request.actor, request.body)),
    );

    app.get(
      '/restore-tests/:id',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'One restore test', params: ById, response: { 200: RestoreTest } },
      },
      (request) => showRestoreTest(deps, request.params.id),
    );

    app.get(
      '/restore-tests/:id/report',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          tags,
          summary: 'The signed report, as it was signed: two JSON lines, the report and its signature',
          params: ById,
        },
      },
      async (request, reply) => {
        const report = await readRestoreTestReport(deps, request.params.id);
        return reply
          .type('application/jsonl')
          .header('content-disposition', `attachment; filename="restore-test-${request.params.id}.jsonl"`)
          .header('cache-control', 'no-store')
          .send(report);
      },
    );

    app.get(
      '/restore-tests/:id/report.pdf',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'The report as PDF/A-3, the signed one attached', params: ById },
      },
      async (request, reply) => {
        const pdf = await printRestoreTestReport(deps, request.params.id);
        return reply
          .type('application/pdf')
          .header('content-disposition', `attachment; filename="restore-test-${request.params.id}.pdf"`)
          .header('cache-control', 'no-store')
          .send(pdf);
      },
    );
  };
