/**
 * What every act has in common that takes the data folder away under the services: they end in order, the recovery page answers
 * in place of the server with the same certificate, and everything is started again, whatever came of it.
 */
import { dataPaths } from '../../../lib/data-folder.ts';
import type { HostDeps } from '../host-app.ts';
import { keepCertificate } from './certificate.ts';
import type { RecoveryProblem } from './schema.ts';
import { DATA_USERS, PAGE, type MachineServices } from './services.ts';
import { noteEnded } from './status.ts';

export interface StageDeps extends Pick<HostDeps, 'places' | 'journal' | 'clock' | 'log'> {
  services: MachineServices;
  /** HOLDFAST_DATA on this machine. */
  dataDir: string;
}

/** When it returns, nothing uses the data folder any more. */
export async function clearStage({ places, services, dataDir, clock }: StageDeps): Promise<void> {
  await services.stop(DATA_USERS);
  await keepCertificate(places, dataPaths(dataDir).tls, clock);
}

/** The certificate must be kept by then. */
export async function showPage({ services, log }: StageDeps): Promise<void> {
  await services.startPage().catch((error: unknown) =>
    // The console tells how far it is too.
    log.warn({ err: error }, 'The recovery page does not run'),
  );
}

/** Starts what is there. Told last: who is killed on the way finds the act still under way, and comes here again. */
export async function leaveStage(deps: StageDeps, problem?: RecoveryProblem): Promise<void> {
  await deps.services.stop([PAGE]);
  await deps.services.start();
  await noteEnded(deps, problem);
}
