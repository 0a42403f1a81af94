import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id, NoContent } from '../../lib/shapes.ts';
import {
  addEntry,
  changeEntry,
  changeRegisterSettings,
  readRegisterSettings,
  removeEntry,
} from './entries.ts';
import { exportRegister, importRegister } from './exchange.ts';
import { findEntries, listRegister, openEntries, type RegisterDeps } from './list-entries.ts';
import {
  EntryChange,
  ImportRequest,
  ImportResult,
  NewEntry,
  OwnRegister,
  RegisterEntry,
  RegisterPage,
  RegisterQuery,
  RegisterSettings,
} from './schema.ts';

const tags = ['registers'];
const params = Type.Object({ id: Id });
const reads = { access: { right: 'registers.read' } } as const;
const acts = { access: { right: 'registers.manage' } } as const;
const dangerous = { access: { right: 'registers.manage' }, stepUp: true } as const;

export const registerRoutes =
  (deps: RegisterDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/registers',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'Confidentiality undertakings, background checks and training' },
          ...{ querystring: RegisterQuery, response: { 200: RegisterPage } },
        },
      },
      ({ query }) => listRegister(deps, query),
    );
    app.get(
      '/me/register',
      {
        config: { access: { right: 'account.own' } },
        schema: { tags, summary: 'What is in the registers about you', response: { 200: OwnRegister } },
      },
      async ({ person }) => ({ items: findEntries(await openEntries(deps, person.userId), {}) }),
    );
    app.post(
      '/registers',
      {
        config: acts,
        schema: { tags, summary: 'Enter something', body: NewEntry, response: { 201: RegisterEntry } },
      },
      async ({ body, actor }, reply) => reply.status(201).send(await addEntry(deps, body, actor)),
    );
    app.patch(
      '/registers/:id',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Change an entry' },
          ...{ params, body: EntryChange, response: { 200: RegisterEntry } },
        },
      },
      ({ params: { id }, body, actor }) => changeEntry(deps, id, body, actor),
    );
    app.delete(
      '/registers/:id',
      {
        config: dangerous,
        schema: { tags, summary: 'Remove what was entered by mistake', params, response: { 204: NoContent } },
      },
      async ({ params: { id }, actor }, reply) => {
        await removeEntry(deps, id, actor);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/registers/import',
      {
        config: dangerous,
        schema: {
          ...{ tags, summary: 'Bring in a CSV file, whole or not at all; problems are named by line' },
          ...{ body: ImportRequest, response: { 200: ImportResult } },
        },
      },
      ({ body, actor }) => importRegister(deps, body, actor),
    );
    app.get(
      '/registers/export',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'What fits, as CSV' },
          ...{ querystring: RegisterQuery, response: { 200: Type.String() } },
        },
      },
      async ({ query, actor }, reply) =>
        reply
          .header('content-type', 'text/csv; charset=utf-8')
          .header('content-disposition', 'attachment; filename="registers.csv"')
          .send(await exportRegister(deps, query, actor)),
    );
    app.get(
      '/settings/registers',
      {
        config: reads,
        schema: {
          tags,
          summary: 'Reminders, and what is due for newcomers',
          response: { 200: RegisterSettings },
        },
      },
      () => readRegisterSettings(deps),
    );
    app.put(
      '/settings/registers',
      {
        config: dangerous,
        schema: {
          ...{ tags, summary: 'Change reminders, and what is due for newcomers' },
          ...{ body: RegisterSettings, response: { 200: RegisterSettings } },
        },
      },
      ({ body, actor }) => changeRegisterSettings(deps, body, actor),
    );
  };
