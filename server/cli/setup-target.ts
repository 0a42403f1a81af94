/** Set-up by file: where the target lies, and how it is asked for. */
import { locationOf, PROPOSED_POLICY, type TargetRequest } from '../backups/index.ts';
import { mountShare } from './mount-share.ts';
import { readSecretFromEnvironment, readSmallFile } from './secrets.ts';
import type { SetupFile } from './setup-file.ts';
import { tell, type SetupWork } from './setup-work.ts';
import { accessKeyOf } from './s3-place.ts';
import { signInOf } from './target-place.ts';

const SECRET_LIMIT_BYTES = 16 * 1024;
const CERTIFICATE_LIMIT_BYTES = 64 * 1024;
const SSH_PORT = 22;

/**
 * Where the target lies, as its page shows it; in a share where there is one in the set-up file. May be run again: a share of that place is used.
 *
 * @throws HoldfastError `unavailable` when a share that was added before is away, `wrong_state` elsewhere than on the machine image.
 */
export async function findTargetPlace(work: SetupWork): Promise<string> {
  const { share: wanted, target } = work.file;
  if (target.kind === 'sftp') return locationOf({ kind: 'sftp', settings: { port: SSH_PORT, ...target } });
  if (target.kind === 's3') return locationOf({ kind: 's3', settings: s3PlaceOf(target) });
  if (wanted === undefined) return target.path ?? '';
  const { path, added } = await mountShare(wanted, {
    list: () => work.client.get('/host/shares'),
    add: (share) => work.client.send('POST', '/host/shares', share),
  });
  if (added) tell(work, 'share', 'done', path);
  else tell(work, 'share', 'already');
  return path;
}

/** What the appliance is asked to add. Secrets come from where the file says. */
export async function readTargetRequest(target: SetupFile['target'], path: string): Promise<TargetRequest> {
  const { retention = PROPOSED_POLICY } = target;
  if (target.kind === 'directory') return { ...target, path, retention };
  if (target.kind === 's3') return { ...(await readS3Request(target)), retention };
  const { hostKey, signInFile, passwordVariable, ...place } = target;
  const signIn =
    signInFile === undefined
      ? { kind: 'password' as const, password: readSecretFromEnvironment(passwordVariable ?? '') }
      : await signInOf(await readSmallFile(signInFile, SECRET_LIMIT_BYTES));
  return { port: SSH_PORT, ...place, fingerprint: hostKey, signIn, retention };
}

type S3Answers = Extract<SetupFile['target'], { kind: 's3' }>;

/** As the appliance shows it. */
function s3PlaceOf({ endpoint, bucket, prefix = '', region, signingRegion }: S3Answers) {
  return { endpoint: endpoint.replace(/\/+$/, ''), bucket, prefix, region: signingRegion ?? region };
}

async function readS3Request(target: S3Answers): Promise<TargetRequest> {
  const {
    prefix = '',
    pathStyle = true,
    caFile,
    signInFile,
    accessKeyId,
    secretKeyVariable,
    role,
    ...place
  } = target;
  const ca = caFile === undefined ? {} : { ca: await readSmallFile(caFile, CERTIFICATE_LIMIT_BYTES) };
  const request = { ...place, prefix, pathStyle, ...ca };
  if (role === true) return { ...request, signIn: { kind: 'role' } };
  if (signInFile !== undefined) {
    return { ...request, signIn: accessKeyOf(await readSmallFile(signInFile, SECRET_LIMIT_BYTES)) };
  }
  const secretAccessKey = readSecretFromEnvironment(secretKeyVariable ?? '');
  return { ...request, signIn: { kind: 'access-key', accessKeyId: accessKeyId ?? '', secretAccessKey } };
}
