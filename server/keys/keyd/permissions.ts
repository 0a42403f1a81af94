/** Which role may ask keyd for what: the one table. What is not in it does not exist. */
import type { KeydRole } from '../key-client.ts';
import type { SignedStatement } from '../repository-keys.ts';

export const PERMISSIONS = {
  status: ['server', 'worker', 'run', 'browse', 'console'],
  watch: ['server', 'run'],
  applianceKey: ['server'],
  createWorkspaceKey: ['server'],
  workspaceKey: ['server', 'run'],
  createSubjectKey: ['server'],
  // A run stores a restored file anew.
  monthlyKey: ['server', 'run'],
  describeKey: ['server', 'run'],
  deriveKeys: ['server', 'run'],
  enableKey: ['server'],
  disableKey: ['server'],
  prepareRepository: ['server'],
  beginKit: ['server'],
  challengeKit: ['server', 'console'],
  proveKit: ['server', 'console'],
  retireKit: ['server'],
  rekeyRepository: ['server'],
  destroyTestIdentities: ['server'],
  claimRepository: ['server'],
  repositoryKeys: ['worker', 'run'],
  keysObject: ['server', 'worker', 'run'],
  keysObjects: ['server', 'worker', 'run'],
  sign: ['worker', 'run'],
  lastHeadNumber: ['worker', 'run'],
  keyringObjects: ['worker', 'run'],
  readObject: ['worker', 'run'],
  lend: ['server', 'worker'],
  take: ['run'],
  takeLiveKeys: ['run'],
  testIdentities: ['run', 'browse'],
  signReport: ['server', 'run'],
  signingCertificate: ['server', 'run'],
  auditHead: ['server', 'run'],
  signCheckpoint: ['server', 'run'],
  renewAuditLog: ['server'],
} as const satisfies Record<string, readonly KeydRole[]>;

export type Operation = keyof typeof PERMISSIONS;

/** What a scratch keyd (a kit test's) answers; it has no repository of its own and makes no keys. */
export const SCRATCH_OPERATIONS: readonly Operation[] = [
  'status',
  'watch',
  'describeKey',
  'workspaceKey',
  'deriveKeys',
];

/** Types that `sign` signs. Keys and keyring objects are composed by keyd itself. */
export const SIGNABLE: readonly SignedStatement['type'][] = [
  'index',
  'snapshot',
  'files',
  'ledger',
  'head',
  'writer',
  'anchor',
  'report',
  'wal',
];

/** The roles that may ask for `name`; undefined when there is no such operation. */
export function rolesFor(name: string): readonly KeydRole[] | undefined {
  return Object.hasOwn(PERMISSIONS, name) ? PERMISSIONS[name as Operation] : undefined;
}
