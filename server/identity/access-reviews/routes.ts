import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id } from '../../lib/shapes.ts';
import { ownOrigin } from '../mail-links/link-origin.ts';
import type { ReviewDeps } from './collect-access.ts';
import { changeDueDate, withdrawReview } from './change-review.ts';
import { decideItem, keepUnchanged } from './decide-item.ts';
import {
  changeReviewSettings,
  listReviewItems,
  listReviews,
  readReviewSettings,
  showReview,
  startReview,
} from './reviews.ts';
import {
  DecisionRequest,
  DueChange,
  ExportQuery,
  ItemsPage,
  ItemsQuery,
  KeepUnchanged,
  ReviewDetail,
  ReviewList,
  ReviewSettings,
  SignOff,
  StartReview,
  Withdrawal,
} from './schema.ts';
import { exportReview, signReview } from './sign-off.ts';

const tags = ['access reviews'];
const params = Type.Object({ id: Id });
const takesPart = { access: { right: 'access-reviews.take-part' } } as const;
const decides = { access: { right: 'workspaces.members' }, stepUp: true } as const;
const response = { 200: ReviewDetail };

export const accessReviewRoutes =
  (deps: ReviewDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/access-reviews',
      {
        config: takesPart,
        schema: {
          ...{ tags, summary: 'Access reviews, the newest first' },
          response: { 200: ReviewList },
        },
      },
      ({ person }) => listReviews(deps, person),
    );
    app.post(
      '/access-reviews',
      {
        config: { access: { right: 'access-reviews.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Begin a review of who has access to what' },
          ...{ body: StartReview, response: { 201: ReviewDetail } },
        },
      },
      async (request, reply) => {
        const { body, person, actor } = request;
        const id = await startReview(deps, { ...body, origin: ownOrigin(request) }, actor);
        return reply.status(201).send(await showReview(deps, person, id));
      },
    );
    app.get(
      '/access-reviews/:id',
      {
        config: takesPart,
        schema: { tags, summary: 'A review and how far it is', params, response },
      },
      ({ params: { id }, person }) => showReview(deps, person, id),
    );
    app.patch(
      '/access-reviews/:id',
      {
        config: { access: { right: 'access-reviews.manage' }, stepUp: true },
        schema: { tags, summary: 'Give a review another due date', params, body: DueChange, response },
      },
      async ({ params: { id }, body, person, actor }) => {
        await changeDueDate(deps, id, new Date(body.dueAt), actor);
        return showReview(deps, person, id);
      },
    );
    app.post(
      '/access-reviews/:id/withdraw',
      {
        config: { access: { right: 'access-reviews.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'End a review without signing it; what was decided stays done' },
          ...{ params, body: Withdrawal, response },
        },
      },
      async ({ params: { id }, body, person, actor }) => {
        await withdrawReview(deps, person, id, body.reason, actor);
        return showReview(deps, person, id);
      },
    );
    app.get(
      '/access-reviews/:id/items',
      {
        config: takesPart,
        schema: {
          ...{ tags, summary: 'What is to be confirmed, as far as it concerns whoever asks' },
          ...{ params, querystring: ItemsQuery, response: { 200: ItemsPage } },
        },
      },
      ({ params: { id }, query, person }) => listReviewItems(deps, person, id, query),
    );
    app.post(
      '/access-reviews/:id/items/:itemId/decision',
      {
        config: decides,
        schema: {
          ...{ tags, summary: 'Keep, change or take away; it is done at once' },
          params: Type.Object({ id: Id, itemId: Id }),
          ...{ body: DecisionRequest, response },
        },
      },
      async ({ params: { id, itemId }, body, person, actor }) => {
        await decideItem(deps, person, { reviewId: id, itemId }, body, actor);
        return showReview(deps, person, id);
      },
    );
    app.post(
      '/access-reviews/:id/keep-unchanged',
      {
        config: decides,
        schema: {
          ...{ tags, summary: 'Keep all that was kept last time and has not changed since' },
          ...{ params, body: KeepUnchanged, response },
        },
      },
      async ({ params: { id }, body, person, actor }) => {
        await keepUnchanged(deps, person, id, body.count, actor);
        return showReview(deps, person, id);
      },
    );
    app.post(
      '/access-reviews/:id/sign-off',
      {
        config: { access: { right: 'access-reviews.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Sign a review of which everything is decided; it does not change any more' },
          ...{ params, body: SignOff, response },
        },
      },
      async ({ params: { id }, body, person, actor }) => {
        await signReview(deps, person, id, body.statement, actor);
        return showReview(deps, person, id);
      },
    );
    app.get(
      '/access-reviews/:id/export',
      {
        config: { access: { right: 'access-reviews.read' } },
        schema: {
          ...{ tags, summary: 'A review as JSON or CSV, with the ids of the audit entries' },
          ...{ params, querystring: ExportQuery },
          response: { 200: Type.String() },
        },
      },
      async ({ params: { id }, query, person, actor }, reply) => {
        const { format = 'json' } = query;
        const { name, text } = await exportReview(deps, person, id, format, actor);
        return reply
          .header('content-type', format === 'json' ? 'application/json' : 'text/csv; charset=utf-8')
          .header('content-disposition', `attachment; filename="${name}"`)
          .send(text);
      },
    );
    app.get(
      '/settings/access-reviews',
      {
        config: { access: { right: 'settings.read' } },
        schema: { tags, summary: 'When reviews begin by themselves', response: { 200: ReviewSettings } },
      },
      () => readReviewSettings(deps),
    );
    app.put(
      '/settings/access-reviews',
      {
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change when reviews begin by themselves' },
          ...{ body: ReviewSettings, response: { 200: ReviewSettings } },
        },
      },
      ({ body, actor }) => changeReviewSettings(deps, body, actor),
    );
  };
