/** Events and states of deliveries in words. */
import type { Delivery, Webhook, WebhookEvent } from '../../api/webhooks.ts';

export const EVENTS: readonly { value: WebhookEvent; label: string }[] = [
  { value: 'alert.raised', label: 'An alert is raised' },
  { value: 'alert.worsened', label: 'A warning becomes a problem' },
  { value: 'alert.reminded', label: 'An alert is reminded of' },
  { value: 'alert.acknowledged', label: 'Somebody takes care of an alert' },
  { value: 'alert.ended', label: 'An alert is over' },
  { value: 'snapshot.stored', label: 'A snapshot is stored' },
];

export const wordOf = (event: string): string =>
  event === 'test' ? 'A trial' : (EVENTS.find(({ value }) => value === event)?.label ?? event);

export function lookOfDelivery({ state, attempts }: Delivery): { state: string; label: string } {
  if (state === 'delivered') return { state: 'ok', label: 'Delivered' };
  if (state === 'failed') return { state: 'bad', label: 'Given up' };
  return attempts === 0 ? { state: 'queued', label: 'Waiting' } : { state: 'warn', label: 'Trying again' };
}

export function lookOfWebhook({ paused, last }: Webhook): { state: string; label: string } {
  if (paused) return { state: 'warn', label: 'Paused' };
  return last === null ? { state: 'none', label: 'Nothing sent yet' } : lookOfDelivery(last);
}
