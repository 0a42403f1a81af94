export { currentBanners } from './banners.ts';
export { isClaimed } from './claim.ts';
export { consoleRoutes } from './console-routes.ts';
export { applianceRoutes } from './routes.ts';
export {
  ApplianceSettings,
  ApplianceSettingsChange,
  BeginKitReply,
  HealthCheck,
  Overview,
  RecoveryKit,
  SetupState,
} from './schema.ts';
export { prepareAppliance } from './start.ts';
