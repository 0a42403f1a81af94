/** What people ask of a restored database, and what restore tests are held to. */
import type { Run } from '../../server/lib/run-schema.ts';
import type {
  Assertion,
  AssertionChange,
  AssertionList,
  AssertionVersion,
  Expected,
  NewAssertion,
  Question,
} from '../../server/restore-tests/assertions/schema.ts';
import type { RestoreTestSettings } from '../../server/restore-tests/schema.ts';
import { request } from './client.ts';

export type { Assertion, AssertionList, AssertionVersion, Expected, NewAssertion, RestoreTestSettings };

const PATH = '/restore-tests/assertions';

export const listAssertions = (signal?: AbortSignal): Promise<AssertionList> => request(PATH, { signal });
export const addAssertion = (body: NewAssertion): Promise<Assertion> =>
  request(PATH, { method: 'POST', body });
export const changeAssertion = (id: string, body: AssertionChange): Promise<Assertion> =>
  request(`${PATH}/${id}`, { method: 'PUT', body });
export const removeAssertion = (id: string): Promise<void> => request(`${PATH}/${id}`, { method: 'DELETE' });
export const orderAssertions = (ids: readonly string[]): Promise<AssertionList> =>
  request(`${PATH}/order`, { method: 'PUT', body: { ids } });
export const tryAssertion = (body: Question): Promise<Run> =>
  request(`${PATH}/trials`, { method: 'POST', body });
export const listVersions = async (id: string, signal?: AbortSignal): Promise<AssertionVersion[]> =>
  (await request<{ items: AssertionVersion[] }>(`${PATH}/${id}/versions`, { signal })).items;

export const getTestSettings = (signal?: AbortSignal): Promise<RestoreTestSettings> =>
  request('/settings/restore-tests', { signal });
export const putTestSettings = (body: RestoreTestSettings): Promise<RestoreTestSettings> =>
  request('/settings/restore-tests', { method: 'PUT', body });
