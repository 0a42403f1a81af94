/** What somebody has said about the appliance that is to come back. In this page only: a reload asks again, and the kit is in no address. */
import type { LookAnswer, OpenedRepository, RecoveryOffer } from '../../../api/recovery.ts';
import type { RecoveryKit } from '../../../lib/recovery-kit.ts';
import { EMPTY_PLACE, type PlaceForm, type PlaceKind } from '../../appliance/machine/share-form.ts';
import type { RecoveryStep } from '../setup-steps.ts';

export class LostAppliance {
  /** What this machine offers; undefined until it was asked. */
  offer = $state.raw<RecoveryOffer>();
  kind = $state<PlaceKind>('nfs');
  form = $state<PlaceForm>({ ...EMPTY_PLACE });
  found = $state.raw<LookAnswer>();
  /** Secret. */
  kit = $state.raw<RecoveryKit>();
  opened = $state.raw<OpenedRepository>();
  snapshotId = $state('');
  /** Off for good, or still running as far as anybody knows. */
  oldMachine = $state<'off' | 'may-run'>();
  acceptWarnings = $state(false);
  /** The recovery was started, here or before this page was loaded. */
  started = $state(false);

  get mustAccept(): boolean {
    return this.opened?.warnings.some(({ confirm }) => confirm) === true;
  }

  /** The furthest step that may be opened. */
  get furthest(): RecoveryStep {
    if (this.started) return 'recover';
    if (this.found === undefined) return 'recover-from';
    if (this.opened === undefined) return 'recover-kit';
    const agreed = this.oldMachine !== undefined && (this.acceptWarnings || !this.mustAccept);
    return this.snapshotId === '' || !agreed ? 'recover-snapshot' : 'recover-unlock';
  }

  /** Another place: what was found and opened is of the one before. */
  forgetFound(): void {
    this.found = undefined;
    this.forgetOpened();
  }

  forgetOpened(): void {
    this.kit = undefined;
    this.opened = undefined;
    this.snapshotId = '';
    this.oldMachine = undefined;
    this.acceptWarnings = false;
  }

  /** From the beginning, on a machine that is empty again. Where the backups lie is remembered. */
  startOver(): void {
    this.forgetFound();
    this.started = false;
    this.offer = undefined;
  }
}
