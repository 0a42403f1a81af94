/** What is asked for and kept of S3 targets, and what is shown of them. Access keys come in and never go out, but for their ids. */
import { X509Certificate, randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { S3Config } from './engine.ts';
import { describeLock, lockUnder } from './lock-days.ts';
import type { TargetDeps } from './manage-targets.ts';
import {
  deleteSignIn,
  findSignIn,
  getTarget,
  insertSignIn,
  lockTarget,
  updateTarget,
  type TargetRow,
} from './queries.ts';
import type { S3SignIn, S3TargetRequest, TargetReply } from './schema.ts';
import { reachOfAppliance, s3SettingsOf, sealSignIn, type S3Settings } from './target-config.ts';
import { changedMeanwhile } from './target-sign-ins.ts';
import { isLoopback } from './targets/s3/check-config.ts';
import { openTarget } from './targets/open-target.ts';
import { takeTrialTurn } from './trial-turns.ts';

/** Of what somebody asks for. @throws HoldfastError `invalid_input` for plain HTTP that nobody allowed, and for what is no certificate */
export function s3ConfigOf(request: S3TargetRequest): S3Config {
  return { kind: 's3', ...s3PlaceOfRequest(request), signIn: request.signIn, ...reachOfAppliance() };
}

function s3PlaceOfRequest(request: S3TargetRequest): Omit<S3Settings, 'role' | 'signInId'> {
  const { bucket, prefix, pathStyle, allowHttp = false, signingRegion, ca } = request;
  const { storageClass, encryption, lock } = request;
  const endpoint = request.endpoint.replace(/\/+$/, '');
  if (endpoint.startsWith('http:') && !allowHttp && !isLoopback(endpoint)) {
    throw new HoldfastError('invalid_input', 'Over plain HTTP, who listens on the way sees what is sent', {
      hint: 'What is stored is encrypted, and requests are signed; but anybody on the way sees names and sizes, and can cut or delay. Use https://, or allow plain HTTP on purpose.',
    });
  }
  return {
    ...{ endpoint, bucket, prefix, pathStyle },
    region: signingRegion ?? request.region,
    ...(ca === undefined ? {} : { ca: readCertificates(ca) }),
    ...(storageClass === undefined ? {} : { storageClass }),
    ...(encryption === undefined ? {} : { encryption }),
    ...(lock === undefined ? {} : { lock: lockUnder(lock, request.retention) }),
  };
}

function readCertificates(pem: string): string {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
  try {
    for (const one of found) new X509Certificate(one);
    if (found.length > 0) return `${found.join('\n')}\n`;
  } catch {
    // Said below.
  }
  throw new HoldfastError('invalid_input', 'This is no certificate of an authority', {
    hint: 'It is PEM text, which begins with -----BEGIN CERTIFICATE-----.',
  });
}

/** What is kept, and how the sealed key is kept beside it. */
export async function s3SettingsFor(
  deps: TargetDeps,
  request: S3TargetRequest,
): Promise<{ settings: S3Settings; keepSignIn?: (tx: WriteTransaction) => Promise<void> }> {
  const place = s3PlaceOfRequest(request);
  if (request.signIn.kind === 'role') return { settings: { ...place, role: true } };
  const kept = await sealAccessKey(deps, request.signIn);
  return { settings: { ...place, signInId: kept.id }, keepSignIn: kept.keep };
}

async function sealAccessKey(deps: TargetDeps, signIn: Extract<S3SignIn, { kind: 'access-key' }>) {
  const sealed = await sealSignIn(deps, randomUUID(), signIn);
  const row = { ...sealed, public_key: signIn.accessKeyId, created_at: deps.clock.now() };
  return { id: sealed.id, keep: (tx: WriteTransaction) => insertSignIn(tx, row) };
}

export async function describeS3(
  deps: Pick<TargetDeps, 'db'>,
  row: TargetRow,
): Promise<NonNullable<TargetReply['s3']>> {
  const { endpoint, bucket, prefix, region, pathStyle, ca, storageClass, encryption, role, signInId } =
    s3SettingsOf(row);
  const kept = signInId === undefined ? undefined : await findSignIn(deps.db, signInId);
  return {
    ...{ endpoint, bucket, prefix, pathStyle },
    signingRegion: region,
    ownAuthority: ca !== undefined,
    storageClass: storageClass ?? null,
    encryption: encryption ?? null,
    lock: await describeLock(deps.db, row),
    signsInBy: role === true ? 'role' : kept === undefined ? null : 'access-key',
    accessKeyId: kept?.public_key ?? null,
  };
}

/**
 * Another access key, or the machine's role, for a target in use, after it opened the target.
 *
 * @throws HoldfastError as opening does: `target_refused`, `unavailable`; `conflict` when the target was changed meanwhile.
 */
export async function changeS3SignIn(
  deps: TargetDeps,
  actor: Actor,
  id: string,
  given: S3SignIn,
): Promise<TargetRow> {
  const before = requireS3(await getTarget(deps.db, id));
  const { signInId: presentId, ...place } = before;
  delete place.role;
  takeTrialTurn(deps, actor);
  await (await openTarget({ kind: 's3', ...place, ...reachOfAppliance(), signIn: given })).close();
  const sealed = given.kind === 'role' ? undefined : await sealAccessKey(deps, given);
  return writeTransaction(deps.db, async (tx) => {
    const now = requireS3(await lockTarget(tx, id));
    if (JSON.stringify(now) !== JSON.stringify(before)) throw changedMeanwhile();
    await sealed?.keep(tx);
    const changed = await updateTarget(
      tx,
      id,
      sealed === undefined
        ? { withoutSignIn: true, settings: { role: true } }
        : { settings: { signInId: sealed.id, role: false } },
    );
    if (presentId !== undefined) await deleteSignIn(tx, presentId);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.sign-in-changed',
      objectType: 'target',
      objectId: id,
      detail: {
        kind: given.kind,
        ...(given.kind === 'access-key' ? { accessKeyId: given.accessKeyId } : {}),
      },
    });
    return changed;
  });
}

function requireS3(row: TargetRow): S3Settings {
  if (row.kind === 's3' && row.state === 'active') return s3SettingsOf(row);
  throw new HoldfastError('wrong_state', 'This is no S3 target in use');
}
