/**
 * Anchors: copies of the audit log's checkpoints on every target, hourly and with every snapshot, so that who changes the log on the
 * appliance cannot change what was said of it elsewhere.
 *
 * Guarantees: an anchor is written once and never replaced or removed; the same checkpoint makes the same object, so a second try
 * after a crash finds it there. A target that is away is tried again, ever more seldom, and shown; nothing else waits for it.
 * Writing one needs no claim on the repository: two copies of an appliance that both anchor leave just the evidence that is wanted.
 */
import { readRoot, recordAudit, systemActor, type Checkpoint } from '../audit/index.ts';
import type { KeyClient, RepositoryReadKeys } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import { readSignedHead, type SignedHead } from '../lib/merkle/checkpoint.ts';
import type { RunContext } from '../lib/runs.ts';
import type { Problem } from '../lib/shapes.ts';
import { saveAnchored, saveAnchorProblem } from './anchor-queries.ts';
import type { Target } from './engine.ts';
import { openTargetConfig, type TargetConfigDeps } from './target-config.ts';
import { decodeAnchor, encodeAnchor } from './objects/anchor-object.ts';
import { anchorName, parseAnchorName, sha256Of, type ObjectReference } from './objects/object-names.ts';
import { quarantine, refuseInQuarantine } from './quarantine.ts';
import type { TargetRow } from './queries.ts';
import { publish, readObject, signingKeysOf } from './repository/object-store.ts';
import { openTarget } from './targets/open-target.ts';

export interface AnchorDeps extends TargetConfigDeps {
  db: Database;
  clock: Clock;
  /** Role `run`. */
  keys: Pick<KeyClient, 'auditHead' | 'repositoryKeys' | 'sign'>;
}

/** Anchors above our own size that are looked at: one of this log among them is enough. After a recovery some are of the log before. */
const MOST_AHEAD = 16;
/** And of those that must agree with the log, the newest. */
const MOST_COMPARED = 4;

/**
 * Compares what lies on a target with the log, as far as the newest anchors tell. Reads only.
 *
 * @throws HoldfastError `wrong_state` in quarantine, which begins here when an anchor says that this is not the only appliance of its
 *   kind, or was set back; what the target throws.
 */
async function compareAnchors(deps: AnchorDeps, row: TargetRow): Promise<void> {
  await refuseInQuarantine(deps.db);
  const keys = await deps.keys.repositoryKeys();
  const target = await openTarget(await openTargetConfig(deps, row));
  try {
    await refuseForeignAnchor(deps, target, keys);
  } finally {
    await target.close();
  }
}

/** As far as the target can be reached: one that is away stops nothing. @throws HoldfastError `wrong_state` in quarantine. */
export async function compareWhereReached(
  deps: AnchorDeps,
  run: Pick<RunContext, 'log'>,
  target: TargetRow,
): Promise<void> {
  try {
    await compareAnchors(deps, target);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'wrong_state') throw error;
    await run.log('warn', `${target.name}: its anchors could not be read: ${messageOf(error)}`);
  }
}

/**
 * Writes a checkpoint to a target and records it.
 *
 * @throws HoldfastError `wrong_state` in quarantine; what the target throws. The failure is recorded with the target.
 */
export async function anchorTo(deps: AnchorDeps, target: TargetRow, checkpoint: Checkpoint): Promise<string> {
  try {
    await refuseInQuarantine(deps.db);
    const name = await writeAnchor(deps, target, checkpoint);
    const { origin, size, at } = checkpoint;
    await writeTransaction(deps.db, (tx) =>
      saveAnchored(tx, target.id, { origin, size, at, now: deps.clock.now() }),
    );
    return name;
  } catch (error) {
    await recordFailure(deps, target, error);
    throw error;
  }
}

async function writeAnchor(deps: AnchorDeps, row: TargetRow, checkpoint: Checkpoint): Promise<string> {
  const keys = await deps.keys.repositoryKeys();
  const target = await openTarget(await openTargetConfig(deps, row));
  try {
    const { note, certificate, size } = checkpoint;
    const bytes = await encodeAnchor(keys.repositoryId, { size, checkpoint: note, certificate }, deps.keys);
    const name = anchorName({ number: size, sha256: sha256Of(bytes) });
    await publish(target, name, bytes, 'backups.anchor');
    return name;
  } finally {
    await target.close();
  }
}

/**
 * An anchor of this very log, signed with our keys, that is ahead of all that our keyring remembers to have signed, or speaks of another
 * history: a copy of this appliance made it, or this machine was set back.
 */
async function refuseForeignAnchor(
  deps: AnchorDeps,
  target: Target,
  keys: RepositoryReadKeys,
): Promise<void> {
  const listed: ObjectReference[] = [];
  for await (const { name } of target.list('anchors/')) {
    const reference = parseAnchorName(name);
    if (reference !== undefined) listed.push(reference);
  }
  // Asked after the listing: what is signed meanwhile is ours.
  const signed = await deps.keys.auditHead();
  listed.sort((a, b) => b.number - a.number);
  const ahead = listed.filter(({ number }) => number > signed.size);
  const newest = listed.filter(({ number }) => number <= signed.size);
  for (const reference of [...ahead.slice(0, MOST_AHEAD), ...newest.slice(0, MOST_COMPARED)]) {
    const head = await readHead(target, keys, reference);
    if (head?.origin !== signed.origin) continue;
    const same = head.size <= signed.size && (await readRoot(deps.db, head.size)).equals(head.root);
    if (same) continue;
    const found = `its target holds a checkpoint of the audit log at ${String(head.size)} entries, signed with the keys of this appliance`;
    const contradiction =
      head.size > signed.size
        ? `which itself has come to ${String(signed.size)}`
        : 'which itself has other entries there';
    await quarantine(
      deps,
      `${found}, ${contradiction}. A copy of it has written there, or this machine was set back to an older state.`,
    );
    await refuseInQuarantine(deps.db);
  }
}

/** What an anchor says; undefined when it is not whole or not ours. */
async function readHead(
  target: Target,
  keys: RepositoryReadKeys,
  reference: ObjectReference,
): Promise<SignedHead | undefined> {
  const known = signingKeysOf(keys);
  const expected = { repositoryId: keys.repositoryId, size: reference.number };
  try {
    const object = await readObject(target, 'anchors', anchorName(reference), reference.sha256);
    const { checkpoint } = decodeAnchor(object, expected, known);
    return readSignedHead(
      checkpoint,
      known.map((key) => key.publicKey),
    );
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'integrity_failure') return undefined;
    throw error;
  }
}

async function recordFailure(deps: AnchorDeps, target: TargetRow, error: unknown): Promise<void> {
  const known = error instanceof HoldfastError ? error : undefined;
  const problem: Problem = {
    code: known?.code ?? 'internal',
    message: known?.message ?? 'Anchoring the audit log failed inside the appliance',
    ...(known?.hint === undefined ? {} : { hint: known.hint }),
  };
  await writeTransaction(deps.db, async (tx) => {
    const failures = await saveAnchorProblem(tx, target.id, { problem, now: deps.clock.now() });
    // Once, not at every further try.
    if (failures > 1) return;
    await recordAudit(tx, deps.clock, systemActor('anchor'), {
      action: 'backups.anchor.failed',
      objectType: 'target',
      objectId: target.id,
      result: 'failed',
      detail: { code: problem.code },
    });
  });
}
