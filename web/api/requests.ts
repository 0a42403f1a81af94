/** The log of requests: searching it, and how long it is kept. */
import type {
  LoggedRequest,
  RequestLogChange,
  RequestLogState,
  RequestPage,
  RequestQuery,
} from '../../server/identity/request-log/schema.ts';
import { request } from './client.ts';

export type { LoggedRequest, RequestLogState, RequestPage };

/** What is undefined is not asked for. */
export type AskedRequests = { [Name in keyof RequestQuery]?: RequestQuery[Name] | undefined };
export const listRequests = (query: AskedRequests, signal?: AbortSignal): Promise<RequestPage> =>
  request('/requests', { query, signal });
export const getRequestLog = (signal?: AbortSignal): Promise<RequestLogState> =>
  request('/requests/settings', { signal });
export const changeRequestLog = (change: RequestLogChange): Promise<RequestLogState> =>
  request('/requests/settings', { method: 'PUT', body: change });
