/**
 * Signs checkpoints of the audit log. keyd is the log's own witness: it remembers the newest head that it signed and signs
 * another one only with the proof that the remembered one is its beginning. So whoever rewrites the database, and even the
 * process that asks, cannot have two histories signed without setting keyd back too, which other copies of a checkpoint show.
 */
import { randomBytes } from 'node:crypto';
import { logOrigin, signHead } from '../../lib/merkle/checkpoint.ts';
import { verifyConsistency } from '../../lib/merkle/verify-proof.ts';
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import {
  type AuditLogRecord,
  type RepositoryClaim,
  type RepositoryRecord,
  trustRootOf,
} from '../keyring/model.ts';
import { makeSigningCertificate } from '../signing-certificate.ts';
import { type Arguments, numberArgument, textArgument, textListArgument } from './arguments.ts';
import type { KeyringStore } from './store.ts';

const HASH_BASE64 = /^[A-Za-z0-9+/]{43}=$/;
/** A tree of 2^53 leaves has as many levels; a proof at most two hashes a level. */
const MAX_PROOF = 128;

interface AuditContext {
  store: KeyringStore;
  clock: Clock;
}

/** The operations, by name. */
export function auditOperations({ store, clock }: AuditContext) {
  function getClaimed(): { repository: RepositoryRecord; claim: RepositoryClaim } {
    const { repository } = store.keyring();
    if (repository?.claim) return { repository, claim: repository.claim };
    throw new HoldfastError(
      'wrong_state',
      'The audit log is signed once the appliance has a proven recovery kit',
    );
  }

  const remember = (auditLog: AuditLogRecord) =>
    store.change([{ kind: 'repository', repository: { ...getClaimed().repository, auditLog } }]);

  async function readLog(): Promise<{ log: AuditLogRecord; origin: string }> {
    const { repository } = getClaimed();
    const log = repository.auditLog ?? newLog();
    if (repository.auditLog === undefined) await remember(log);
    else await store.settled();
    return { log, origin: logOrigin(repository.repositoryId, log.id) };
  }

  return {
    auditHead: () =>
      store.exclusive(async () => {
        const { log, origin } = await readLog();
        return { origin, size: log.size, root: log.root, at: log.at };
      }),

    signCheckpoint: (args: Arguments) =>
      store.exclusive(async () => {
        const { log, origin } = await readLog();
        const head = readHead(args);
        requireSuccessor(log, head);
        const at = new Date(Math.floor(clock.now().getTime() / 1000) * 1000);
        // Durable before the signature leaves: what was signed is never forgotten.
        await remember({
          id: log.id,
          size: head.size,
          root: head.root.toString('base64'),
          at: at.toISOString(),
        });
        const { repository, claim } = getClaimed();
        const key = claim.signingKeys.at(-1);
        if (key === undefined) throw new HoldfastError('internal', 'The repository has no signing key');
        const privateKey = Buffer.from(claim.signingPrivateKey, 'base64');
        const publicKey = Buffer.from(key.publicKey, 'base64');
        const note = signHead({ origin, size: head.size, root: head.root }, at, { publicKey, privateKey });
        privateKey.fill(0);
        const root = trustRootOf(repository);
        const certificate = await makeSigningCertificate(repository.repositoryId, key, root);
        root.privateKey.fill(0);
        return { origin, at: at.toISOString(), note, certificate };
      }),

    renewAuditLog: () =>
      store.exclusive(async () => {
        // Nothing signed, nothing to tell apart.
        if (store.keyring().repository?.auditLog !== undefined) await remember(newLog());
        return null;
      }),
  };
}

function newLog(): AuditLogRecord {
  return { id: randomBytes(8).toString('hex'), size: 0, root: '', at: null };
}

interface RequestedHead {
  after: number;
  size: number;
  root: Buffer;
  proof: Buffer[];
}

function readHead(args: Arguments): RequestedHead {
  const count = { from: 0, to: Number.MAX_SAFE_INTEGER };
  const hashes = [
    textArgument(args, 'root', 44),
    ...textListArgument(args, 'proof', { items: MAX_PROOF, length: 44 }),
  ];
  if (!hashes.every((hash) => HASH_BASE64.test(hash))) {
    throw new HoldfastError('invalid_input', 'The key service was given a wrong hash');
  }
  const [root = Buffer.alloc(0), ...proof] = hashes.map((hash) => Buffer.from(hash, 'base64'));
  return {
    after: numberArgument(args, 'after', count),
    size: numberArgument(args, 'size', count),
    root,
    proof,
  };
}

function requireSuccessor(log: AuditLogRecord, head: RequestedHead): void {
  if (head.after !== log.size) {
    throw new HoldfastError('conflict', 'Another checkpoint of the audit log was signed meanwhile', {
      hint: 'Ask for the newest one and prove from there.',
      detail: `asked after ${head.after}, signed ${log.size}`,
    });
  }
  // Nothing was signed: the first word is believed, as nobody could contradict it.
  if (log.root === '') return;
  const before = { size: log.size, root: Buffer.from(log.root, 'base64') };
  if (verifyConsistency(before, head, head.proof)) return;
  const shorter = head.size < log.size ? 'is shorter than' : 'does not continue';
  throw new HoldfastError('integrity_failure', `The audit log ${shorter} what was signed of it before`, {
    hint: 'Somebody changed the database past Holdfast, or it was set back. Export the log and verify it against the anchors.',
    detail: `signed ${log.size}, asked ${head.size}`,
  });
}
