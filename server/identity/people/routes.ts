import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { AskedApproval, Id, NoContent } from '../../lib/shapes.ts';
import { removeSecondFactors } from '../factors/lost-factors.ts';
import { deactivateOne, deactivateSeveral } from './deactivate-several.ts';
import { listDirectory, showPerson } from './directory.ts';
import { namePeople } from './people.ts';
import {
  changePeopleSettings,
  changePerson,
  changeRole,
  reactivatePerson,
  readPeopleSettings,
  type PersonLifeDeps,
} from './person-life.ts';
import {
  DeactivateSeveral,
  Names,
  NamesQuery,
  PeoplePage,
  PeopleQuery,
  PeopleSettings,
  PersonChange,
  PersonEntry,
  ProfileChange,
  RoleChange,
  SecondFactorRemovalRequest,
} from './schema.ts';

const tags = ['people'];
const params = Type.Object({ id: Id });
const reads = { access: { right: 'people.read' } } as const;
const acts = { access: { right: 'people.manage' }, stepUp: true } as const;

export const peopleRoutes =
  (deps: PersonLifeDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/people',
      {
        config: reads,
        schema: { tags, summary: 'People', querystring: PeopleQuery, response: { 200: PeoplePage } },
      },
      ({ query }) => listDirectory(deps, query),
    );
    app.get(
      '/people/names',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'Names of up to 100 people by their ids; unknown ids are left out' },
          ...{ querystring: NamesQuery, response: { 200: Names } },
        },
      },
      async ({ query }) => {
        const people = await namePeople(deps, [...new Set(query.ids.split(','))]);
        return { items: [...people.values()].map(({ id, name }) => ({ id, name })) };
      },
    );
    app.get(
      '/people/:id',
      { config: reads, schema: { tags, summary: 'One person', params, response: { 200: PersonEntry } } },
      ({ params: { id } }) => showPerson(deps, id),
    );
    app.patch(
      '/people/:id',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Change the name or e-mail address of a person' },
          ...{ params, body: PersonChange, response: { 200: PersonEntry } },
        },
      },
      async ({ params: { id }, body, actor }) => {
        await changePerson(deps, id, body, actor);
        return showPerson(deps, id);
      },
    );
    app.put(
      '/people/:id/role',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Give a person another role; their sessions end' },
          ...{ params, body: RoleChange, response: { 200: PersonEntry } },
        },
      },
      async ({ params: { id }, body, actor }) => {
        await changeRole(deps, id, body.role, actor);
        return showPerson(deps, id);
      },
    );
    app.post(
      '/people/:id/deactivate',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Shut a person out at once; the third within an hour needs a second person' },
          ...{ params, response: { 200: PersonEntry, 202: AskedApproval } },
        },
      },
      async ({ params: { id }, actor }, reply) => {
        const asked = await deactivateOne(deps, id, actor);
        return asked === undefined ? showPerson(deps, id) : reply.status(202).send(asked);
      },
    );
    app.post(
      '/people/:id/reactivate',
      {
        config: acts,
        schema: { tags, summary: 'Let a person in again', params, response: { 200: PersonEntry } },
      },
      async ({ params: { id }, actor }) => {
        await reactivatePerson(deps, id, actor);
        return showPerson(deps, id);
      },
    );
    app.post(
      '/people/deactivate-several',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Ask for several people to be shut out; a second person approves it' },
          ...{ body: DeactivateSeveral, response: { 202: AskedApproval, 204: NoContent } },
        },
      },
      async ({ body, actor }, reply) => {
        const asked = await deactivateSeveral(deps, body, actor);
        return asked === undefined ? reply.status(204).send(null) : reply.status(202).send(asked);
      },
    );
    app.delete(
      '/people/:id/second-factors',
      {
        config: acts,
        schema: {
          ...{
            tags,
            summary: 'Take lost second factors off somebody’s account; of an administrator it is asked for',
          },
          ...{ params, body: SecondFactorRemovalRequest, response: { 202: AskedApproval, 204: NoContent } },
        },
      },
      async ({ params: { id }, body, actor }, reply) => {
        const asked = await removeSecondFactors(deps, id, body.reason, actor);
        return asked === undefined ? reply.status(204).send(null) : reply.status(202).send(asked);
      },
    );
    app.patch(
      '/profile',
      {
        config: { access: { right: 'account.own' } },
        schema: { tags, summary: 'Change your own name', body: ProfileChange, response: { 204: NoContent } },
      },
      async ({ person, body, actor }, reply) => {
        await changePerson(deps, person.userId, { name: body.name }, actor);
        return reply.status(204).send(null);
      },
    );
    app.get(
      '/settings/people',
      {
        config: { access: { right: 'settings.read' } },
        schema: { tags, summary: 'Settings about people', response: { 200: PeopleSettings } },
      },
      () => readPeopleSettings(deps),
    );
    app.put(
      '/settings/people',
      {
        config: { access: { right: 'settings.change' } },
        schema: {
          ...{ tags, summary: 'Change settings about people' },
          ...{ body: PeopleSettings, response: { 200: PeopleSettings } },
        },
      },
      ({ body, actor }) => changePeopleSettings(deps, body, actor),
    );
  };
