export { currentBanners } from './banners.ts';
export { answerChallenge } from './certificate/acme/challenges.ts';
export { renewCertificate } from './certificate/routes.ts';
export { isClaimed } from './claim.ts';
export { lookAtKit, RETIRE_KIT, retireAsApproved, type RetireDeps } from './kits/retire.ts';
export { settleKeyRegister } from './kits/settle.ts';
export { KeyRegister } from './kits/schema.ts';
export { consoleRoutes } from './console-routes.ts';
export { enterHostActs } from './host-acts.ts';
export { TpmPcrs, type HostState, type NewWay } from './host/schema.ts';
export { SharePlace, type ShareStatus } from './host/shares/schema.ts';
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
export { connectHost, requireHost, type HostClient } from './host/client.ts';
export { hostPlaces } from './host/host-places.ts';
export { readSystemContent } from './host/read-system-content.ts';
export { rootKeyFile as machineRootKeyFile } from './host/ways/root-key.ts';
export { installRecoveredHold } from './recovered-hold.ts';
export { watchInsistence } from './transport-security.ts';
export { watchMachine } from './machine-watch.ts';
export { readApplianceSettings } from './settings.ts';
export { prepareAppliance } from './start.ts';
export type {
  BundleUpload,
  CheckedBundle,
  FoundBundles,
  PieceTaken,
  Update,
  UpdateOverview,
} from './host/updates/schema.ts';
export { checkForAlerts } from './watch-work.ts';
export { advanceUpdate } from './updates/driver.ts';
export { runUpdateRehearsal } from './updates/rehearsal.ts';
export type { CheckedSetBack, SetBackView } from './host/set-back/schema.ts';
export type { SetBackPlan, UndoPlan } from './set-back/schema.ts';
export {
  givePermit,
  lookAtSetBack,
  SET_BACK,
  settlePermits,
  type PermitDeps,
  type WantedSetBack,
} from './set-back/permits.ts';
export { DISCARD, discardApproved, lookAtDiscard } from './set-back/requests.ts';
