import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id } from '../../lib/shapes.ts';
import { recordKeeping, type KeepingDeps } from './keepings.ts';
import { exportRegister, readKeepings, readKeyRegister } from './register.ts';
import { rekey } from './rekey.ts';
import {
  Keeping,
  KeepingChange,
  KeyRegister,
  RegisterExportQuery,
  RegisterQuery,
  RekeyRequest,
  WriteOnlyRequest,
} from './schema.ts';
import { setWriteOnly, type WriteOnlyDeps } from './write-only.ts';

const tags = ['keys'];
const params = Type.Object({ id: Id });
const reads = { access: { right: 'settings.read' } } as const;

/** The register of keys and kits, new generations, and write-only mode. */
export const keyRegisterRoutes =
  (deps: KeepingDeps & WriteOnlyDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/keys/register',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'Who could open the backups on a day, and who keeps which kit' },
          ...{ querystring: RegisterQuery, response: { 200: KeyRegister } },
        },
      },
      ({ query }) => readKeyRegister(deps, query.on),
    );

    app.get(
      '/keys/register/export',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'The register of a day as CSV or JSON' },
          ...{ querystring: RegisterExportQuery, response: { 200: Type.String() } },
        },
      },
      async ({ query, actor }, reply) => {
        const { format = 'csv' } = query;
        const text = await exportRegister(deps, query, actor);
        return reply
          .header('content-type', format === 'csv' ? 'text/csv; charset=utf-8' : 'application/json')
          .header('content-disposition', `attachment; filename="key-register.${format}"`)
          .send(text);
      },
    );

    app.post(
      '/keys/rekey',
      {
        config: { access: { right: 'keys.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Begin a new generation of the keys; the next snapshot is a first one' },
          ...{ body: RekeyRequest, response: { 201: Type.Object({ generation: Type.Integer() }) } },
        },
      },
      async ({ body, actor }, reply) => reply.status(201).send(await rekey(deps, body, actor)),
    );

    app.post(
      '/keys/write-only',
      {
        config: { access: { right: 'keys.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Turn write-only mode on or off' },
          description:
            'On: the keys by which the appliance opens its own backups are destroyed; only recovery kits open them from then on. Off: a new generation of keys begins, which the appliance opens again; what is older stays openable with kits only.',
          ...{ body: WriteOnlyRequest, response: { 200: Type.Object({ generation: Type.Integer() }) } },
        },
      },
      ({ body, actor }) => setWriteOnly(deps, body, actor),
    );

    app.get(
      '/recovery-kits/:id/keepings',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'Who kept a kit, newest first', params },
          response: { 200: Type.Object({ items: Type.Array(Keeping) }) },
        },
      },
      async ({ params: { id } }) => ({ items: await readKeepings(deps, id) }),
    );

    app.post(
      '/recovery-kits/:id/keepings',
      {
        config: { access: { right: 'keys.manage' } },
        schema: {
          ...{ tags, summary: 'Write down who keeps a kit', params },
          ...{ body: KeepingChange, response: { 201: Keeping } },
        },
      },
      async ({ params: { id }, body, actor }, reply) =>
        reply.status(201).send(await recordKeeping(deps, id, body, actor)),
    );
  };
