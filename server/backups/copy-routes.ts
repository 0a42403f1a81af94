/** Several targets: their order, on how many a snapshot has to be, what they cost, and work on one of them. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type, type Static } from 'typebox';
import { Run } from '../lib/run-schema.ts';
import { Id } from '../lib/shapes.ts';
import { orderTargets, priceTarget } from './arrange-targets.ts';
import { requestCopy } from './copy-job.ts';
import { changeRule, readRule, tellRule } from './copy-rule.ts';
import { requestRepositoryRun } from './list-snapshots.ts';
import type { TargetDeps } from './manage-targets.ts';
import { getTarget } from './queries.ts';
import { VerifyQuery } from './read-back/schema.ts';
import { PaceChange, WorkHoursChange } from './pace-schema.ts';
import { changeWorkHours } from './target-hours.ts';
import { changePace } from './target-pace.ts';
import { CopyRule, CopyRuleChange, PriceChange, TargetOrder, TargetReply } from './schema.ts';
import { showTargets, toTargetReply } from './show-targets.ts';

const TargetParams = Type.Object({ id: Id });
const Targets = Type.Object({ items: Type.Array(TargetReply) });

export function copyRoutes(deps: TargetDeps): FastifyPluginAsyncTypebox {
  const tags = ['Targets'];
  const describeRule = async (): Promise<Static<typeof CopyRule>> => {
    const rule = await readRule(deps.db);
    return { ...rule, words: tellRule(rule) };
  };
  return async (app) => {
    app.get(
      '/copy-rule',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          ...{ tags, summary: 'On how many targets a snapshot has to be before it counts as stored' },
          response: { 200: CopyRule },
        },
      },
      describeRule,
    );
    app.put(
      '/copy-rule',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change on how many targets a snapshot has to be', body: CopyRuleChange },
          response: { 200: CopyRule },
        },
      },
      async ({ body, actor }) => {
        await changeRule(deps, actor, body.needed);
        return describeRule();
      },
    );
    app.put(
      '/targets/order',
      {
        config: { access: { right: 'backups.manage' } },
        schema: {
          ...{ tags, summary: 'Change the order of the targets: the first that can be written to leads' },
          ...{ body: TargetOrder, response: { 200: Targets } },
        },
      },
      async ({ body, actor }) => {
        await orderTargets(deps, actor, body.ids);
        return { items: await showTargets(deps) };
      },
    );
    app.put(
      '/targets/:id/price',
      {
        config: { access: { right: 'backups.manage' } },
        schema: {
          ...{ tags, summary: 'Say what a target costs, for the estimate on its page' },
          ...{ params: TargetParams, body: PriceChange, response: { 200: TargetReply } },
        },
      },
      async ({ params, body, actor }) =>
        toTargetReply(deps, await priceTarget(deps, actor, params.id, body.price)),
    );
    app.put(
      '/targets/:id/pace',
      {
        config: { access: { right: 'backups.manage' } },
        schema: {
          ...{ tags, summary: 'Say how much may be sent to a target in a second, and at which hours' },
          ...{ params: TargetParams, body: PaceChange, response: { 200: TargetReply } },
        },
      },
      async ({ params, body, actor }) =>
        toTargetReply(deps, await changePace(deps, actor, params.id, body.pace)),
    );
    app.put(
      '/targets/:id/work-hours',
      {
        config: { access: { right: 'backups.manage' } },
        schema: {
          ...{ tags, summary: 'Say when work that nobody asked for may begin on a target' },
          ...{ params: TargetParams, body: WorkHoursChange, response: { 200: TargetReply } },
        },
      },
      async ({ params, body, actor }) =>
        toTargetReply(deps, await changeWorkHours(deps, actor, params.id, body.hours)),
    );
    app.post(
      '/targets/:id/copy',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          ...{ tags, summary: 'Bring a target what it lacks of the snapshots on the others' },
          ...{ params: TargetParams, response: { 202: Run } },
        },
      },
      async ({ params, actor }, reply) => reply.status(202).send(await requestCopy(deps, actor, params.id)),
    );
    for (const kind of ['verify', 'prune'] as const) {
      const what =
        kind === 'verify' ? 'Read back and check everything stored' : 'Reclaim what no snapshot needs';
      const querystring = kind === 'verify' ? VerifyQuery : Type.Object({});
      app.post(
        `/targets/${kind}`,
        {
          config: { access: { right: 'backups.manage' } },
          schema: { ...{ tags, summary: `${what}, on every target`, querystring }, response: { 202: Run } },
        },
        async ({ actor, query }, reply) =>
          reply.status(202).send(await requestRepositoryRun(deps, actor, kind, { ...query })),
      );
      app.post(
        `/targets/:id/${kind}`,
        {
          config: { access: { right: 'backups.manage' } },
          schema: {
            ...{ tags, summary: `${what}, on one target`, params: TargetParams, querystring },
            response: { 202: Run },
          },
        },
        async ({ params, query, actor }, reply) => {
          const { id: targetId } = await getTarget(deps.db, params.id);
          return reply
            .status(202)
            .send(await requestRepositoryRun(deps, actor, kind, { ...query, targetId }));
        },
      );
    }
  };
}
