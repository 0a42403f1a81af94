/** Reviews of who has access to what. */
import type {
  DecisionRequest,
  ItemsPage,
  ItemsQuery,
  Review,
  ReviewDetail,
  ReviewItem,
  ReviewList,
  ReviewSettings,
} from '../../server/identity/access-reviews/schema.ts';
import { API, request } from './client.ts';

export type { DecisionRequest, ItemsPage, ItemsQuery, Review, ReviewDetail, ReviewItem, ReviewSettings };

const at = (id: string): string => `/access-reviews/${id}`;

export const listReviews = (signal?: AbortSignal): Promise<ReviewList> =>
  request('/access-reviews', { signal });
export const getReview = (id: string, signal?: AbortSignal): Promise<ReviewDetail> =>
  request(at(id), { signal });
export const listReviewItems = (id: string, query: ItemsQuery, signal?: AbortSignal): Promise<ItemsPage> =>
  request(`${at(id)}/items`, { query: { ...query }, signal });
/** One item as it is now; undefined: it is not for this person any more. */
export const getReviewItem = async (id: string, itemId: string): Promise<ReviewItem | undefined> =>
  (await listReviewItems(id, { item: itemId })).items[0];
export const startReview = (days: number): Promise<ReviewDetail> =>
  request('/access-reviews', { method: 'POST', body: { days } });
export const decideItem = (id: string, itemId: string, body: DecisionRequest): Promise<ReviewDetail> =>
  request(`${at(id)}/items/${itemId}/decision`, { method: 'POST', body });
export const keepUnchanged = (id: string, count: number): Promise<ReviewDetail> =>
  request(`${at(id)}/keep-unchanged`, { method: 'POST', body: { count } });
export const changeReviewDue = (id: string, dueAt: string): Promise<ReviewDetail> =>
  request(at(id), { method: 'PATCH', body: { dueAt } });
export const withdrawReview = (id: string, reason: string): Promise<ReviewDetail> =>
  request(`${at(id)}/withdraw`, { method: 'POST', body: { reason } });
export const signReview = (id: string, statement: string): Promise<ReviewDetail> =>
  request(`${at(id)}/sign-off`, { method: 'POST', body: { statement } });
export const reviewExportUrl = (id: string, format: 'json' | 'csv'): string =>
  `${API}${at(id)}/export?format=${format}`;

export const getReviewSettings = (signal?: AbortSignal): Promise<ReviewSettings> =>
  request('/settings/access-reviews', { signal });
export const putReviewSettings = (body: ReviewSettings): Promise<ReviewSettings> =>
  request('/settings/access-reviews', { method: 'PUT', body });
