/** The front door for the programs that run as root: they must not load the server with it. */
export { noteCloudDisc } from './cloud-disc.ts';
export { connectHost, requireHost } from './client.ts';
export { checkHardening, type HardeningReport } from './hardening/report.ts';
export { readStateFile } from './state-file.ts';
export { listDisks } from './disks.ts';
export { hardeningRoutes } from './hardening/routes.ts';
export { buildHostApp } from './host-app.ts';
export { waitForHealth, waitForUnlock, type Health } from './health.ts';
export { HOST_SOCKET, hostPlaces } from './host-places.ts';
export { readImageFacts } from './image-facts.ts';
export { openJournal } from './journal.ts';
export {
  adoptNetworkSettings,
  dropPending,
  readNetworkSettings,
  writeSystemFiles,
  type NetworkState,
} from './network/trial.ts';
export type { NetworkSettings } from './network/settings.ts';
export { hostNameOf } from './network/files.ts';
export { networkRoutes } from './network/routes.ts';
export { powerRoutes } from './power-routes.ts';
export { recoveryKeyProof, shellRoutes } from './shell-routes.ts';
export { openSshDesk } from './ssh/desk.ts';
export { sshRoutes } from './ssh/routes.ts';
export type { SshState } from './ssh/schema.ts';
export { systemdPower } from './power.ts';
export { supportRoutes } from './support.ts';
export {
  eraseSetupFile,
  readSetupProblem,
  readTakenDisk,
  recordSetupDone,
  takeCloudSetup,
} from './setup-from-cloud.ts';
export { buildUnlockConsole, buildUnlockPage } from './unlock/app.ts';
export { openUnlockDesk, type DeskState } from './unlock/desk.ts';
export { allowedNetworks } from './unlock/limits.ts';
export { readManagementNetworks, writeUnlockNote } from './unlock/settings.ts';
export { readOwnUuid } from './unlock/volume.ts';
export { deviceMapping } from './volume/mapping.ts';
export { volumeRoutes } from './volume/routes.ts';
export { tpmSealer } from './ways/tpm.ts';
export { finishWays } from './ways/ways.ts';
export { createRauc, RAUC_KEYRING } from './updates/rauc.ts';
export { buildRehearsalApp, rehearsalSocket } from './updates/rehearsal-app.ts';
export { settleBoot } from './updates/boot.ts';
export { openUpdateRecords } from './updates/records.ts';
export { launchInUnit, openBundleRoot } from './updates/rehearsal.ts';
export { updateRoutes } from './updates/routes.ts';
export { openUpdates } from './updates/updates.ts';
export { systemdMounts } from './shares/mount.ts';
export { shareRoutes } from './shares/routes.ts';
export { openShares } from './shares/shares.ts';
export { keepSystemFacts, slotContentBytes } from './system-facts.ts';
export { identityRoutes } from './machine-identity.ts';
export { machineRecoveryRoutes } from './machine-recovery.ts';
export { openBrowserRecovery } from './recovery/browser-recovery.ts';
export { lookInUnit } from './recovery/look-launch.ts';
export { buildRecoveryPage } from './recovery/page.ts';
export { browserRecoveryRoutes } from './recovery/routes.ts';
export { systemdServices } from './recovery/services.ts';
export type { RecoveryStatus, RepositoryAnswer } from './recovery/schema.ts';
export { giveBackCertificate, keptCertificateFolder } from './recovery/certificate.ts';
export { describeRecovery } from './recovery/words.ts';
export { readRecoveryStatus } from './recovery/status.ts';
export { setBackRoutes } from './set-back/routes.ts';
export type { SetBackView } from './set-back/schema.ts';
export { openSetBack } from './set-back/set-back.ts';
export { settleAtStart } from './set-back/settle.ts';
export { describeSetBackRecord } from './set-back/words.ts';
