/**
 * Verifies the appliance's own audit log, whole: exactly what an export would say, by the code that verifies exports, against the
 * trust root, the keyring's memory of what was signed, and the anchors on every target that can be reached.
 */
import {
  exportLog,
  createLogVerifier,
  listDisplaced,
  makeCheckpoint,
  recordVerification,
  treeSize,
  type CheckpointSigner,
  type KeptHead,
  type VerifyOptions,
  type VerifyReport,
} from '../audit/index.ts';
import { trustInRoot, type KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import { readKeptHeads } from './kept-heads.ts';
import { listActiveTargets, type TargetRow } from './queries.ts';
import { openTargetConfig, type TargetConfigDeps } from './target-config.ts';
import { openTarget } from './targets/open-target.ts';

interface VerifyAuditDeps extends TargetConfigDeps {
  db: Database;
  clock: Clock;
  /** Role `run`. */
  keys: CheckpointSigner & Pick<KeyClient, 'status'>;
}

/** How many lines until the loop looks up. */
const LINES_AT_ONCE = 5_000;

/** The run of kind `audit-verify`. */
export async function runAuditVerify(deps: VerifyAuditDeps, run: RunContext): Promise<RunOutcome> {
  const { repository } = await deps.keys.status();
  if (repository.trustRoot === null || repository.repositoryId === null) {
    throw new HoldfastError(
      'wrong_state',
      'The audit log is signed once the appliance has a proven recovery kit',
    );
  }
  // So that the newest entries are covered. A log that cannot be signed is verified all the more.
  await makeCheckpoint(deps).catch((error: unknown) =>
    run.log('warn', `No new checkpoint: ${messageOf(error)}`),
  );
  await run.step('Reading anchors');
  const kept = await gatherKept(deps, run);
  await run.step('Reading the log');
  const trust = trustInRoot(Buffer.from(repository.trustRoot, 'base64'), repository.repositoryId);
  const remembered = await rememberedHead(deps);
  const report = await verifyAll(deps, run, createLogVerifier({ trust, kept, remembered }));
  await recordVerification(deps, { runId: run.runId, report });
  for (const { message } of report.findings.slice(0, 100)) await run.log('error', message);
  for (const notice of report.notices) await run.log('warn', notice);
  const result = { size: report.size, findings: report.findingCount, ok: report.ok };
  if (report.ok) return { state: 'succeeded', result };
  return {
    state: 'failed',
    result,
    error: {
      code: 'integrity_failure',
      message: `${report.findingCount === 1 ? '1 thing' : `${report.findingCount} things`} in the audit log are not as they were written`,
      hint: 'The log of this run names each. Export the log and keep the export, and look who can reach the database.',
    },
  };
}

async function verifyAll(
  deps: VerifyAuditDeps,
  run: RunContext,
  verifier: ReturnType<typeof createLogVerifier>,
): Promise<VerifyReport> {
  const size = await treeSize(deps.db);
  let lines = 0;
  for await (const line of exportLog(deps)) {
    verifier.line(Buffer.from(line));
    lines += 1;
    if (lines % LINES_AT_ONCE !== 0) continue;
    run.signal.throwIfAborted();
    run.report({ filesDone: Math.min(lines, size), filesTotal: size });
  }
  return verifier.end(await listDisplaced(deps.db));
}

/** Checkpoints can be taken out of the database with the entries; the keyring remembers the newest one all the same. */
async function rememberedHead({ keys }: VerifyAuditDeps): Promise<VerifyOptions['remembered']> {
  const { at, ...head } = await keys.auditHead();
  return at === null ? undefined : { ...head, at, source: 'the keyring' };
}

async function gatherKept(deps: VerifyAuditDeps, run: RunContext): Promise<KeptHead[]> {
  const all: KeptHead[] = [];
  for (const row of await listActiveTargets(deps.db)) {
    try {
      all.push(...(await readFrom(deps, row, run)));
    } catch (error) {
      await run.log('warn', `${row.name}: its anchors could not be read: ${messageOf(error)}`);
    }
  }
  return all;
}

async function readFrom(deps: VerifyAuditDeps, row: TargetRow, run: RunContext): Promise<KeptHead[]> {
  const target = await openTarget(await openTargetConfig(deps, row));
  try {
    const { heads, unreadable } = await readKeptHeads(target, row.name);
    await run.log('info', `${heads.length} anchors on ${row.name}`);
    for (const name of unreadable) await run.log('warn', `${row.name}: ${name} is damaged`);
    return heads;
  } finally {
    await target.close();
  }
}
