import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id } from '../../lib/shapes.ts';
import { Team, TeamDetail, TeamRequest } from './schema.ts';
import {
  addTeamMember,
  createTeam,
  listTeams,
  removeTeamMember,
  renameTeam,
  showTeam,
  type TeamDeps,
} from './teams.ts';

const tags = ['teams'];
const params = Type.Object({ id: Id });
const MemberParams = Type.Object({ id: Id, userId: Id });
const reads = { access: { right: 'people.read' } } as const;
const acts = { access: { right: 'teams.manage' }, stepUp: true } as const;
const response = { 200: TeamDetail };

export const teamRoutes =
  (deps: TeamDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/teams',
      {
        config: reads,
        schema: { tags, summary: 'Teams', response: { 200: Type.Object({ items: Type.Array(Team) }) } },
      },
      async () => ({ items: await listTeams(deps) }),
    );
    app.post(
      '/teams',
      {
        config: acts,
        schema: { tags, summary: 'Create a team', body: TeamRequest, response: { 201: TeamDetail } },
      },
      async ({ body, actor }, reply) => reply.status(201).send(await createTeam(deps, body.name, actor)),
    );
    app.get(
      '/teams/:id',
      { config: reads, schema: { tags, summary: 'A team and who is in it', params, response } },
      (request) => showTeam(deps, request.params.id),
    );
    app.patch(
      '/teams/:id',
      { config: acts, schema: { tags, summary: 'Rename a team', params, body: TeamRequest, response } },
      (request) => renameTeam(deps, request.params.id, request.body.name, request.actor),
    );
    app.put(
      '/teams/:id/members/:userId',
      {
        config: acts,
        schema: { tags, summary: 'Add a person to a team', params: MemberParams, response },
      },
      ({ params: { id, userId }, actor }) => addTeamMember(deps, { teamId: id, userId }, actor),
    );
    app.delete(
      '/teams/:id/members/:userId',
      {
        config: acts,
        schema: { tags, summary: 'Take a person out of a team', params: MemberParams, response },
      },
      ({ params: { id, userId }, actor }) => removeTeamMember(deps, { teamId: id, userId }, actor),
    );
  };
