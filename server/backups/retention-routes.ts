/** How long snapshots are kept: policies, previews, agreement to removals, and legal holds. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Run } from '../lib/run-schema.ts';
import { AskedApproval, Id } from '../lib/shapes.ts';
import type { BrowseDeps } from './browse-snapshot.ts';
import { holdSnapshot, liftHold } from './holds.ts';
import {
  agreeToRemoval,
  changeRetention,
  previewRetention,
  requestApply,
  showRetention,
  type RetentionDeps,
} from './keep-policy.ts';
import { showSnapshot } from './list-snapshots.ts';
import { requestForget } from './request-forget.ts';
import {
  RemovalRequest,
  RetentionChange,
  RetentionDraft,
  RetentionPreview,
  RetentionStatus,
  WithReason,
} from './retention/schema.ts';
import { Snapshot } from './schema.ts';

const TargetParams = Type.Object({ id: Id });
const SnapshotParams = Type.Object({ id: Type.String({ pattern: '^[0-9a-f]{64}$' }) });
const ForgetBody = Type.Object({ ...WithReason.properties, targetId: Type.Optional(Id) });
const manage = { right: 'backups.manage' } as const;

export type RetentionRouteDeps = RetentionDeps & BrowseDeps;

export function retentionRoutes(deps: RetentionRouteDeps): FastifyPluginAsyncTypebox {
  const tags = ['Retention'];
  return async (app) => {
    app.get(
      '/targets/:id/retention',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          ...{ tags, summary: 'How long snapshots are kept on a target, and how far that is carried out' },
          params: TargetParams,
          response: { 200: RetentionStatus },
        },
      },
      ({ params }) => showRetention(deps, params.id),
    );
    app.post(
      '/targets/:id/retention/preview',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          ...{ tags, summary: 'What a policy would keep and remove now; nothing is changed' },
          ...{ params: TargetParams, body: RetentionDraft },
          response: { 200: RetentionPreview },
        },
      },
      ({ params, body }) => previewRetention(deps, params.id, body.policy),
    );
    app.put(
      '/targets/:id/retention',
      {
        config: { access: manage, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change how long snapshots are kept; a large removal needs approval' },
          ...{ params: TargetParams, body: RetentionChange },
          response: { 200: RetentionStatus, 202: AskedApproval },
        },
      },
      async ({ params, body, actor }, reply) => {
        const answer = await changeRetention(deps, actor, params.id, body);
        return 'approval' in answer ? reply.status(202).send(answer) : answer;
      },
    );
    app.post(
      '/targets/:id/retention/agree',
      {
        config: { access: manage, stepUp: true },
        schema: {
          ...{ tags, summary: 'Ask that what the policy removes, and did not remove by itself, may go' },
          ...{ params: TargetParams, body: RemovalRequest },
          response: { 200: RetentionStatus, 202: AskedApproval },
        },
      },
      async ({ params, body, actor }, reply) => {
        const answer = await agreeToRemoval(deps, actor, params.id, body);
        return 'approval' in answer ? reply.status(202).send(answer) : answer;
      },
    );
    app.post(
      '/targets/:id/retention/apply',
      {
        config: { access: manage },
        schema: {
          ...{ tags, summary: 'Carry the policy of a target out now' },
          params: TargetParams,
          response: { 202: Run },
        },
      },
      async ({ params, actor }, reply) => reply.status(202).send(await requestApply(deps, actor, params.id)),
    );
    app.post(
      '/snapshots/:id/forget',
      {
        config: { access: manage, stepUp: true },
        schema: {
          ...{ tags, summary: 'Forget a snapshot, by approval where it protects the rest' },
          ...{ params: SnapshotParams, body: ForgetBody },
          response: { 202: Type.Union([Run, AskedApproval]) },
        },
      },
      async ({ params, body, actor }, reply) =>
        reply.status(202).send(await requestForget(deps, actor, params.id, body)),
    );
    app.put(
      '/snapshots/:id/hold',
      {
        config: { access: manage },
        schema: {
          ...{ tags, summary: 'Put a snapshot under legal hold' },
          ...{ params: SnapshotParams, body: WithReason },
          response: { 200: Snapshot },
        },
      },
      async ({ params, body, actor }) => {
        await holdSnapshot(deps, actor, params.id, body.reason.trim());
        return showSnapshot(deps, params.id);
      },
    );
    app.post(
      '/snapshots/:id/hold/lift',
      {
        config: { access: { right: 'recovery.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Lift the legal hold of a snapshot' },
          ...{ params: SnapshotParams, body: WithReason },
          response: { 200: Snapshot },
        },
      },
      async ({ params, body, actor }) => {
        await liftHold(deps, actor, params.id, body.reason.trim());
        return showSnapshot(deps, params.id);
      },
    );
  };
}
