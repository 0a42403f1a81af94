/** Shipping of the write-ahead log, and the moments that can be restored. */
import type { Static } from 'typebox';
import type {
  PointInTimeChange as ChangeShape,
  PointInTimeStatus as StatusShape,
  TargetShipping as ShippingShape,
} from '../../server/backups/wal/schema.ts';
import type { StartPointTest } from '../../server/restore-tests/schema.ts';
import { request } from './client.ts';
import type { RestoreTest } from './shapes.ts';

export type PointInTimeChange = Static<typeof ChangeShape>;
export type PointInTimeStatus = Static<typeof StatusShape>;
export type TargetShipping = Static<typeof ShippingShape>;

export const getPointInTime = (signal?: AbortSignal): Promise<PointInTimeStatus> =>
  request('/point-in-time', { signal });
export const putPointInTime = (change: PointInTimeChange): Promise<PointInTimeStatus> =>
  request('/point-in-time', { method: 'PUT', body: change });
export const testMoment = (test: Static<typeof StartPointTest>): Promise<RestoreTest> =>
  request('/restore-tests/point-in-time', { method: 'POST', body: test });
