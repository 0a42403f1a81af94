/** Starting a restore test, with the test identity or with a kit opened in this browser. */
import { listKits } from '../../api/appliance.ts';
import { getKitMaterial, startRestoreTest } from '../../api/protection.ts';
import type { RestoreTest, StartRestoreTest } from '../../api/shapes.ts';
import type { ParsedKit } from '../../lib/recovery-kit.ts';

type Choice = Omit<StartRestoreTest, 'keySource' | 'lent'>;

export function startWithTestIdentity(choice: Choice): Promise<RestoreTest> {
  return startRestoreTest({ ...choice, keySource: 'test-identity' });
}

/** What a kit lends to one test on one target. */
export interface LentKit {
  kitId: string;
  keys: string;
  keyringFileKeys: { name: string; fileKey: string }[];
}

/** Opens the repository of a target with a kit. The kit itself is not sent. @throws Error with a hint */
export async function openWithKit(given: ParsedKit, targetId: string): Promise<LentKit> {
  const { lendFromKit, recipientOf } = await import('../../lib/recovery-kit.ts');
  const [{ items: kits }, recipient, material] = await Promise.all([
    listKits(),
    recipientOf(given),
    getKitMaterial(targetId),
  ]);
  const kit = kits.find((candidate) => candidate.recipient === recipient);
  if (kit === undefined) {
    throw Object.assign(new Error('This is not a recovery kit of this appliance'), {
      hint: 'The page Keys lists the kits that open its backups.',
    });
  }
  return { kitId: kit.id, ...(await lendFromKit(given, material)) };
}

export function startWithKit(choice: Choice, lent: LentKit): Promise<RestoreTest> {
  return startRestoreTest({ ...choice, keySource: 'recovery-kit', lent });
}
