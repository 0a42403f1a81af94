/** The front door of the monitoring module. */
export { type Finding, keepAlerts } from './keep-alerts.ts';
export { monitoringRoutes } from './routes.ts';
