/** Receivers of events, what was sent to them, and the call that says outside that this appliance lives. */
import type { HeartbeatChange, HeartbeatReply } from '../../server/monitoring/heartbeat/schema.ts';
import type {
  Delivery,
  DeliveryPage,
  Webhook,
  WebhookChange,
  WebhookDraft,
  WebhookEvent,
  WebhookWithSecret,
} from '../../server/monitoring/webhooks/schema.ts';
import { request } from './client.ts';

export type { Delivery, HeartbeatReply, Webhook, WebhookDraft, WebhookEvent, WebhookWithSecret };

export const listWebhooks = (signal?: AbortSignal): Promise<{ items: Webhook[] }> =>
  request('/webhooks', { signal });
export const addWebhook = (body: WebhookDraft): Promise<WebhookWithSecret> =>
  request('/webhooks', { method: 'POST', body });
export const changeWebhook = (id: string, body: WebhookChange): Promise<Webhook> =>
  request(`/webhooks/${id}`, { method: 'PUT', body });
export const removeWebhook = (id: string): Promise<void> => request(`/webhooks/${id}`, { method: 'DELETE' });
export const renewSecret = (id: string, overlapHours: number): Promise<WebhookWithSecret> =>
  request(`/webhooks/${id}/secret`, { method: 'POST', body: { overlapHours } });
export const tryWebhook = (id: string): Promise<Delivery> =>
  request(`/webhooks/${id}/test`, { method: 'POST' });
export const listDeliveries = (
  id: string,
  query: { cursor?: string | undefined },
  signal?: AbortSignal,
): Promise<DeliveryPage> => request(`/webhooks/${id}/deliveries`, { query, signal });
export const retryDelivery = (id: string, deliveryId: string): Promise<Delivery> =>
  request(`/webhooks/${id}/deliveries/${deliveryId}/retry`, { method: 'POST' });

export const getHeartbeat = (signal?: AbortSignal): Promise<HeartbeatReply> =>
  request('/settings/heartbeat', { signal });
export const putHeartbeat = (body: HeartbeatChange): Promise<HeartbeatReply> =>
  request('/settings/heartbeat', { method: 'PUT', body });
export const removeHeartbeat = (): Promise<void> => request('/settings/heartbeat', { method: 'DELETE' });
export const callHeartbeat = (): Promise<HeartbeatReply> =>
  request('/settings/heartbeat/call', { method: 'POST' });
