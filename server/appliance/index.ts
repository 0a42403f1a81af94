export { currentBanners } from './banners.ts';
export { isClaimed } from './claim.ts';
export { consoleRoutes, type ConsoleDeps } from './console-routes.ts';
export { applianceRoutes, type ApplianceDeps } from './routes.ts';
export {
  ApplianceSettings,
  ApplianceSettingsChange,
  BeginKitReply,
  HealthCheck,
  Overview,
  RecoveryKit,
  SetupState,
} from './schema.ts';
export { prepareAppliance, type StartDeps } from './start.ts';
