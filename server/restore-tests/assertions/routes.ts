import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { KeyClient } from '../../keys/index.ts';
import { Run } from '../../lib/run-schema.ts';
import { Id, NoContent } from '../../lib/shapes.ts';
import {
  addAssertion,
  changeAssertion,
  orderAssertions,
  removeAssertion,
  showAssertions,
  showVersions,
  type AssertionDeps,
} from './assertions.ts';
import {
  Assertion,
  AssertionChange,
  AssertionList,
  AssertionOrder,
  AssertionVersion,
  NewAssertion,
  Question,
} from './schema.ts';
import { startTrial } from './trial.ts';

const tags = ['restore tests'];
const params = Type.Object({ id: Id });
const reads = { access: { right: 'operations.read' } } as const;
/** What they ask decides whether a backup counts as proven. */
const acts = { access: { right: 'backups.manage' }, stepUp: true } as const;

export const assertionRoutes =
  (deps: AssertionDeps & { keys: Pick<KeyClient, 'status'> }): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/restore-tests/assertions',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'What is asked of a restored database, and what may be' },
          response: { 200: AssertionList },
        },
      },
      () => showAssertions(deps),
    );
    app.post(
      '/restore-tests/assertions',
      {
        config: acts,
        schema: { tags, summary: 'Add an assertion', body: NewAssertion, response: { 201: Assertion } },
      },
      async ({ actor, body }, reply) => reply.status(201).send(await addAssertion(deps, actor, body)),
    );
    app.put(
      '/restore-tests/assertions/order',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Change in which order they are asked' },
          ...{ body: AssertionOrder, response: { 200: AssertionList } },
        },
      },
      ({ actor, body }) => orderAssertions(deps, actor, body.ids),
    );
    app.post(
      '/restore-tests/assertions/trials',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Try a statement on the newest snapshot, restored for it' },
          ...{ body: Question, response: { 202: Run } },
        },
      },
      async ({ actor, body }, reply) => reply.status(202).send(await startTrial(deps, actor, body)),
    );
    app.get(
      '/restore-tests/assertions/:id/versions',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'Every version of an assertion, newest first' },
          ...{ params, response: { 200: Type.Object({ items: Type.Array(AssertionVersion) }) } },
        },
      },
      (request) => showVersions(deps, request.params.id),
    );
    app.put(
      '/restore-tests/assertions/:id',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Change an assertion' },
          ...{ params, body: AssertionChange, response: { 200: Assertion } },
        },
      },
      (request) => changeAssertion(deps, request.actor, request.params.id, request.body),
    );
    app.delete(
      '/restore-tests/assertions/:id',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Remove an assertion; its versions stay' },
          ...{ params, response: { 204: NoContent } },
        },
      },
      async (request, reply) => {
        await removeAssertion(deps, request.actor, request.params.id);
        return reply.status(204).send(null);
      },
    );
  };
