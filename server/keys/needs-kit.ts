import { HoldfastError } from '../lib/errors.ts';

/** What this appliance cannot open itself: it is write-only, or was when this was written. */
export function needsKit(cause?: unknown): HoldfastError {
  return new HoldfastError(
    'needs_kit',
    'This appliance keeps no key that opens this backup: it needs a recovery kit',
    {
      hint: 'Restore with the kit: `holdfast restore --from TARGET --kit FILE`. A restore test takes the kit in the browser.',
      ...(cause === undefined ? {} : { cause }),
    },
  );
}
