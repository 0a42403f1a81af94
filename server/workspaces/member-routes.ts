import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Email } from '../identity/index.ts';
import { Id } from '../lib/shapes.ts';
import { setMagicLinks } from './magic-links.ts';
import {
  addByEmail,
  createWorkspace,
  listAllWorkspaces,
  listTeamWorkspaces,
  listWorkspacesOfPerson,
  removeMember,
  renameWorkspace,
  setRole,
  showMembers,
  type MembershipDeps,
} from './membership.ts';
import {
  CreateWorkspaceRequest,
  ManagedWorkspace,
  RenameWorkspaceRequest,
  Workspace,
  WorkspaceMembers,
  WorkspaceRole,
} from './schema.ts';

const tags = ['workspaces'];
const params = Type.Object({ id: Id });
const RoleBody = Type.Object({ role: WorkspaceRole });
const response = { 200: WorkspaceMembers };
const Workspaces = { 200: Type.Object({ items: Type.Array(Workspace) }) };
const reads = { access: { right: 'workspaces.members' } } as const;
const acts = { access: { right: 'workspaces.members' }, stepUp: true } as const;

/** Workspaces as a whole, and who belongs to them. */
export function memberRoutes(deps: MembershipDeps): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get(
      '/workspaces/all',
      {
        config: { access: { right: 'workspaces.manage' } },
        schema: {
          ...{ tags, summary: 'All workspaces, without their content' },
          response: { 200: Type.Object({ items: Type.Array(ManagedWorkspace) }) },
        },
      },
      async () => ({ items: await listAllWorkspaces(deps) }),
    );
    app.post(
      '/workspaces',
      {
        config: { access: { right: 'workspaces.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Create a workspace with its first manager' },
          ...{ body: CreateWorkspaceRequest, response: { 201: WorkspaceMembers } },
        },
      },
      async ({ body, signedIn, actor }, reply) =>
        reply.status(201).send(await createWorkspace(deps, body, signedIn, actor)),
    );
    app.patch(
      '/workspaces/:id',
      {
        config: acts,
        schema: { tags, summary: 'Rename a workspace', params, body: RenameWorkspaceRequest, response },
      },
      ({ params: { id }, body, signedIn, actor }) => renameWorkspace(deps, id, body.name, signedIn, actor),
    );
    app.put(
      '/workspaces/:id/magic-links',
      {
        config: { access: { right: 'workspaces.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Let members sign in by a link sent by mail, or not', params, response },
          body: Type.Object({ allowed: Type.Boolean() }, { additionalProperties: false }),
        },
      },
      async ({ params: { id }, body, signedIn, actor }) => {
        await setMagicLinks(deps, id, body.allowed, actor);
        return showMembers(deps, id, signedIn);
      },
    );
    app.get(
      '/workspaces/:id/members',
      { config: reads, schema: { tags, summary: 'Who belongs to a workspace', params, response } },
      ({ params: { id }, signedIn }) => showMembers(deps, id, signedIn),
    );
    app.post(
      '/workspaces/:id/people',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Add a person by their e-mail address', params, response },
          body: Type.Object({ email: Email, role: WorkspaceRole }),
        },
      },
      ({ params: { id }, body, signedIn, actor }) => addByEmail(deps, id, body, signedIn, actor),
    );
    for (const [what, key] of [
      ['people', 'userId'],
      ['teams', 'teamId'],
    ] as const) {
      const url = `/workspaces/:id/${what}/:holderId`;
      const of = (id: string) => (key === 'userId' ? { userId: id } : { teamId: id });
      const HolderParams = Type.Object({ id: Id, holderId: Id });
      const summary = what === 'people' ? 'a person' : 'a team';
      app.put(
        url,
        {
          config: acts,
          schema: {
            ...{ tags, summary: `Give ${summary} a role in a workspace`, response },
            ...{ params: HolderParams, body: RoleBody },
          },
        },
        ({ params: { id, holderId }, body, signedIn, actor }) =>
          setRole(deps, id, of(holderId), body.role, signedIn, actor),
      );
      app.delete(
        url,
        {
          config: acts,
          schema: {
            ...{ tags, summary: `Take ${summary} out of a workspace`, response },
            params: HolderParams,
          },
        },
        ({ params: { id, holderId }, signedIn, actor }) =>
          removeMember(deps, id, of(holderId), signedIn, actor),
      );
    }
    app.get(
      '/people/:id/workspaces',
      {
        config: { access: { right: 'people.read' } },
        schema: {
          tags,
          summary: 'Workspaces of a person, by themself and by teams',
          params,
          response: Workspaces,
        },
      },
      async (request) => ({ items: await listWorkspacesOfPerson(deps, request.params.id) }),
    );
    app.get(
      '/teams/:id/workspaces',
      {
        config: { access: { right: 'people.read' } },
        schema: { tags, summary: 'Workspaces in which a team has a role', params, response: Workspaces },
      },
      async (request) => ({ items: await listTeamWorkspaces(deps, request.params.id) }),
    );
  };
}
