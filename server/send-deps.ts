/** What mail and monitoring are given of the modules to its right. */
import { readApplianceSettings } from './appliance/index.ts';
import { readQuarantine } from './backups/index.ts';
import type { Deps } from './deps.ts';
import { findContact } from './identity/index.ts';
import type { SendDeps } from './mail/index.ts';

export function sendDeps(deps: Deps): Deps & SendDeps {
  return {
    ...deps,
    recipientOf: (userId) => findContact(deps, userId),
    applianceName: async () => (await readApplianceSettings(deps)).name ?? 'Holdfast',
    isHeld: async () => (await readQuarantine(deps.db)) !== undefined,
  };
}
