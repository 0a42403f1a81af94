/** The front door of the monitoring module. */
export { checkCapacity, dataDiskLevel, recordCapacity } from './capacity/measure.ts';
export { checkOutgoing } from './check-outgoing.ts';
export { beat } from './heartbeat/beat.ts';
export { ESCALATED_TESTS } from './escalated.ts';
export { type Finding, keepAlerts } from './keep-alerts.ts';
export { checkRuns, stopOverdueRuns } from './run-limits/watch-runs.ts';
export { monitoringRoutes } from './routes.ts';
export { startWebhookSender } from './webhooks/deliver.ts';
export { tidyWebhooks } from './webhooks/manage-webhooks.ts';
export { queueSnapshots } from './webhooks/queue-events.ts';
export type { AlertPage } from './schema.ts';
