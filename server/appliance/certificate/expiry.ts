/**
 * Whether the certificate runs out soon, and who is told: everybody by a banner, operators on the overview, owners by mail, each once at
 * 30, 14, 7 and 1 days. The appliance's own renews itself. One that is fetched by ACME speaks only when its renewal did not come.
 */
import { recordAudit, systemActor } from '../../audit/index.ts';
import { listOwners, type PeopleDeps } from '../../identity/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { queueMail, type QueueMailDeps } from '../../mail/index.ts';
import { findAcme, insertNotice } from './acme/queries.ts';
import { readCertificate, type CertificateDeps } from './certificate.ts';

const DAY_MS = 86_400_000;
const NOTICE_DAYS = [30, 14, 7, 1];

export interface Expiry {
  /** Whole days that are left; below 0: it has run out. */
  days: number;
  /** The notice that is due: 30, 14, 7 or 1. */
  noticeDays: number;
  message: string;
  hint: string;
  validTo: string;
  fingerprint: string;
  name: string;
}

/** Undefined while all is well. */
export async function readExpiry(deps: CertificateDeps): Promise<Expiry | undefined> {
  const { source, names, subject, validFrom, validTo, fingerprint } = await readCertificate(deps);
  if (source === 'own') return undefined;
  const acme = source === 'acme' ? await findAcme(deps.db) : undefined;
  const leftMs = Date.parse(validTo) - deps.clock.now().getTime();
  const days = Math.floor(leftMs / DAY_MS);
  const noticeDays = dueNotice(days);
  if (noticeDays === undefined) return undefined;
  // It is renewed with a third of its life left: later than a quarter, something is wrong.
  const lifeMs = Date.parse(validTo) - Date.parse(validFrom);
  if (acme?.enabled === true && acme.last_problem === null && leftMs > lifeMs / 4) return undefined;
  const name = names[0] ?? subject;
  const problem = (acme?.last_problem as { message: string } | null | undefined)?.message;
  return {
    ...{ days, noticeDays, validTo, fingerprint, name },
    message:
      days < 0
        ? `The certificate for ${name} has run out: browsers turn people away`
        : `The certificate for ${name} runs out on ${validTo.slice(0, 10)}, in ${days === 1 ? '1 day' : `${days} days`}`,
    hint:
      problem === undefined
        ? 'Install another under Appliance, Certificate.'
        : `Its renewal failed: ${problem}. It is tried again by itself.`,
  };
}

/** The smallest notice that covers so many days; undefined: none yet. Pure. */
export function dueNotice(days: number): number | undefined {
  return NOTICE_DAYS.filter((one) => days <= one).at(-1);
}

/** Tells the owners by mail, once at each step. */
export async function tellOfExpiry(deps: CertificateDeps & QueueMailDeps & PeopleDeps): Promise<void> {
  const expiry = await readExpiry(deps);
  if (expiry === undefined) return;
  const owners = await listOwners(deps);
  await writeTransaction(deps.db, async (tx) => {
    if (!(await insertNotice(tx, expiry.fingerprint, expiry.noticeDays, deps.clock.now()))) return;
    await recordAudit(tx, deps.clock, systemActor('certificate'), {
      action: 'appliance.certificate.expiring',
      objectType: 'certificate',
      objectId: expiry.fingerprint,
      detail: { days: expiry.days, validTo: expiry.validTo },
    });
    for (const userId of owners) {
      const { name, validTo, message, hint } = expiry;
      await queueMail(tx, deps, {
        to: { userId },
        template: 'certificate-expiry',
        data: { name, validTo, message, hint },
      });
    }
  });
}
