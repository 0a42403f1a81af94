/**
 * The certificate by ACME: set, fetched, and fetched again when two thirds of its life are over. Guarantees: a try that fails changes
 * nothing but what is said about it, and the old certificate stays; a new one counts for new connections at once, open ones go on.
 */
import { createHash, type X509Certificate } from 'node:crypto';
import { recordAudit, systemActor, type Actor } from '../../../audit/index.ts';
import { crashPoint } from '../../../lib/crash-point.ts';
import { writeTransaction, type WriteTransaction } from '../../../lib/db.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/log.ts';
import type { Problem } from '../../../lib/shapes.ts';
import { exportPem, writeInstalledPair } from '../../../lib/tls-installed.ts';
import {
  directoryOf,
  refuseConfigured,
  serve,
  type CertificateDeps,
  type TlsSwitch,
} from '../certificate.ts';
import { checkCertificate, parseChain, parseKey } from '../check.ts';
import { noHook } from './challenges.ts';
import { orderCertificate } from './order.ts';
import { findAcme, recordFailure, recordRenewal, saveAcme, type AcmeRow } from './queries.ts';
import type { AcmeChange, AcmeState } from './schema.ts';

export type AcmeDeps = CertificateDeps & { log: Logger };

const HOUR_MS = 3_600_000;
/** After each failure in a row; authorities count failures by the hour. */
const WAITS_HOURS = [1, 2, 4, 8, 12];
/** Let's Encrypt's, until another is set. */
const FIRST_DIRECTORY = 'https://acme-v02.api.letsencrypt.org/directory';

/** One order at a time; the data folder has one server. */
let underWay: Promise<void> | undefined;

export async function readAcme(deps: AcmeDeps): Promise<AcmeState> {
  const row = await findAcme(deps.db);
  return {
    enabled: row?.enabled ?? false,
    directoryUrl: row?.directory_url ?? FIRST_DIRECTORY,
    names: row?.names ?? [],
    challenge: (row?.challenge ?? 'http-01') as AcmeState['challenge'],
    authority: row?.authority ?? null,
    busy: underWay !== undefined,
    canHttp: deps.config.redirectPort !== undefined,
    canDns: deps.config.acmeDnsHook !== undefined,
    nextTryAt: row?.next_try_at?.toISOString() ?? null,
    lastTriedAt: row?.last_tried_at?.toISOString() ?? null,
    renewedAt: row?.renewed_at?.toISOString() ?? null,
    problem: (row?.last_problem ?? null) as Problem | null,
  };
}

/** @throws HoldfastError `invalid_input`, `wrong_state` for what could not work; nothing is changed then. */
export async function changeAcme(
  deps: AcmeDeps,
  { termsAgreed, ...change }: AcmeChange,
  actor: Actor,
  switchTls: TlsSwitch,
): Promise<AcmeState> {
  refuseConfigured(deps);
  const { enabled, names, challenge, authority, directoryUrl } = change;
  if (enabled) refuseImpossible(deps, change, termsAgreed);
  if (authority !== null) parseChain(authority);
  await writeTransaction(deps.db, async (tx) => {
    await saveAcme(tx, {
      ...{ enabled, directory_url: directoryUrl, names, challenge, authority },
      next_try_at: enabled ? deps.clock.now() : null,
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'appliance.acme.changed',
      objectType: 'certificate',
      detail: { enabled, directoryUrl, names, challenge, authority: authority !== null },
    });
  });
  if (enabled) void renewWhenDue(deps, switchTls);
  return readAcme(deps);
}

function refuseImpossible(
  deps: AcmeDeps,
  { names, challenge }: Pick<AcmeChange, 'names' | 'challenge'>,
  termsAgreed: boolean,
): void {
  if (!termsAgreed) {
    throw new HoldfastError('invalid_input', 'The terms of the authority are not agreed to', {
      hint: 'Read them where the authority publishes them; it gives no certificate without.',
    });
  }
  if (challenge === 'dns-01' && deps.config.acmeDnsHook === undefined) throw noHook();
  if (challenge === 'http-01' && deps.config.redirectPort === undefined) {
    throw new HoldfastError('wrong_state', 'This appliance does not answer on port 80', {
      hint: 'Set HOLDFAST_REDIRECT_PORT, and start again; or use the way by DNS.',
    });
  }
  if (challenge === 'http-01' && names.some((name) => name.startsWith('*.'))) {
    throw new HoldfastError('invalid_input', 'A name with * is shown by DNS only');
  }
}

/** Fetches one now, whatever the time. @throws HoldfastError `wrong_state` while it is off, or an order is under way. */
export async function renewNow(deps: AcmeDeps, actor: Actor, switchTls: TlsSwitch): Promise<AcmeState> {
  const row = await findAcme(deps.db);
  if (row?.enabled !== true) throw new HoldfastError('wrong_state', 'No certificate is fetched by ACME');
  if (underWay !== undefined)
    throw new HoldfastError('wrong_state', 'A certificate is being fetched already');
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, {
      action: 'appliance.certificate.ordered',
      objectType: 'certificate',
    }),
  );
  begin(deps, row, switchTls);
  return readAcme(deps);
}

/** Every few minutes: orders when it is time. Waits for the end of the order. */
export async function renewWhenDue(deps: AcmeDeps, switchTls: TlsSwitch): Promise<void> {
  const row = await findAcme(deps.db);
  if (row?.enabled !== true || deps.config.tlsCertificateFile !== undefined) return;
  if (row.next_try_at !== null && row.next_try_at > deps.clock.now()) return;
  if (underWay === undefined) begin(deps, row, switchTls);
  await underWay;
}

function begin(deps: AcmeDeps, row: AcmeRow, switchTls: TlsSwitch): void {
  underWay = renew(deps, row, switchTls)
    .catch((error: unknown) => noteFailure(deps, row, error))
    .catch((error: unknown) => {
      deps.log.error({ err: error }, 'A failed renewal could not be written down');
    })
    .finally(() => {
      underWay = undefined;
    });
}

async function renew(deps: AcmeDeps, row: AcmeRow, switchTls: TlsSwitch): Promise<void> {
  const ordered = await orderCertificate(deps.config, {
    ...{ directoryUrl: row.directory_url, names: row.names, authority: row.authority },
    challenge: row.challenge as AcmeChange['challenge'],
  });
  const key = parseKey(ordered.key);
  const chain = checkCertificate(parseChain(ordered.certificate), key, deps.clock.now());
  const [own] = chain;
  if (own === undefined) throw new HoldfastError('integrity_failure', 'The authority sent no certificate');
  const missing = row.names.filter((name) => own.checkHost(name.replace(/^\*/, 'x')) === undefined);
  if (missing.length > 0) {
    throw new HoldfastError(
      'unavailable',
      `The certificate that came does not count for ${missing.join(', ')}`,
    );
  }
  const now = deps.clock.now();
  const taken = await writeTransaction(deps.db, async (tx) => {
    if (!(await isStillWanted(tx, row))) return false;
    await recordRenewal(tx, now, renewalTime(own));
    await recordAudit(tx, deps.clock, systemActor('acme'), {
      action: 'appliance.certificate.renewed',
      objectType: 'certificate',
      objectId: own.fingerprint256,
      detail: { validTo: own.validToDate.toISOString(), names: row.names },
    });
    await writeInstalledPair(directoryOf(deps), {
      certificate: chain.map((one) => one.toString()).join(''),
      key: exportPem(key),
      installedAt: now.toISOString(),
      source: 'acme',
    });
    crashPoint('appliance.certificate.renewed');
    return true;
  });
  if (!taken) {
    deps.log.info({}, 'A certificate came for settings that were changed meanwhile; it is not used');
    return;
  }
  await serve(deps, switchTls);
  deps.log.info({ validTo: own.validTo }, 'The certificate was renewed');
}

async function noteFailure(deps: AcmeDeps, row: AcmeRow, error: unknown): Promise<void> {
  const known = error instanceof HoldfastError ? error : undefined;
  const problem: Problem = {
    code: known?.code ?? 'internal',
    message: known?.message ?? 'Something went wrong inside the appliance',
    ...(known?.hint === undefined ? {} : { hint: known.hint }),
  };
  deps.log.warn({ err: error }, 'The certificate could not be renewed; the present one stays');
  const now = deps.clock.now();
  const waitHours = WAITS_HOURS[Math.min(row.failures, WAITS_HOURS.length - 1)] ?? 1;
  await writeTransaction(deps.db, async (tx) => {
    if (!(await isStillWanted(tx, row))) return;
    await recordFailure(tx, now, new Date(now.getTime() + waitHours * HOUR_MS), problem);
    await recordAudit(tx, deps.clock, systemActor('acme'), {
      action: 'appliance.certificate.renewed',
      objectType: 'certificate',
      result: 'failed',
      detail: { code: problem.code, message: problem.message },
    });
  });
}

/** An order takes minutes: meanwhile somebody may have turned it off, or asked for something else. */
async function isStillWanted(tx: WriteTransaction, ordered: AcmeRow): Promise<boolean> {
  const present = await findAcme(tx);
  return (
    present?.enabled === true &&
    present.directory_url === ordered.directory_url &&
    present.challenge === ordered.challenge &&
    present.authority === ordered.authority &&
    present.names.join(' ') === ordered.names.join(' ')
  );
}

/** When two thirds of its life are over, a little before by chance, so that not all ask at once. Pure. */
export function renewalTime(
  certificate: Pick<X509Certificate, 'validFromDate' | 'validToDate' | 'fingerprint256'>,
): Date {
  const from = certificate.validFromDate.getTime();
  const lifeMs = certificate.validToDate.getTime() - from;
  const chance = createHash('sha256').update(certificate.fingerprint256).digest().readUInt16BE() / 65_536;
  return new Date(from + lifeMs * (2 / 3 - chance * 0.04));
}
