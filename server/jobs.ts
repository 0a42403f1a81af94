/**
 * The one list of work that happens by itself or at length: what a run of each kind does, and what is due when. The table
 * `schedules` is the truth about what is due; cron only wakes us to look.
 */
import cron from 'node-cron';
import {
  advanceUpdate,
  checkForAlerts,
  enterHostActs,
  renewCertificate,
  runUpdateRehearsal,
  settleKeyRegister,
  settlePermits,
  watchMachine,
  readSystemContent,
} from './appliance/index.ts';
import { approvalActs } from './approval-acts.ts';
import { expireDueEntries, verifyWhenDue } from './audit/index.ts';
import { boundRequestLog } from './identity/index.ts';
import { collectDoomedContents, magicLinkRule, reviewWorkspaces } from './workspaces/index.ts';
import {
  anchorWhenDue,
  applyRetentionWhenDue,
  clearUnfinished,
  copyWhenDue,
  expireSignIns,
  goOnReadingBack,
  judgeSnapshots,
  runAuditAnchor,
  runAuditVerify,
  publishKeysWhenDue,
  runCopy,
  runPrune,
  runPublishKeys,
  runRestoreDirectory,
  runRestoreFile,
  runRestoreFolder,
  runSnapshot,
  runVerify,
  shippedUntil,
} from './backups/index.ts';
import { tidyMail } from './mail/index.ts';
import type { Deps } from './deps.ts';
import {
  answerAsks,
  cleanSessions,
  keepAccessReviews,
  pruneApiLog,
  remindOfRegisters,
  settleApprovals,
  sumUpRefusals,
  tellOfEndingKeys,
} from './identity/index.ts';
import { HoldfastError } from './lib/errors.ts';
import type { RunKind } from './lib/run-schema.ts';
import type { RunContext, RunOutcome } from './lib/runs.ts';
import { ensureSchedules, startDueRuns } from './lib/schedules.ts';
import {
  beat,
  keepAlerts,
  queueSnapshots,
  recordCapacity,
  stopOverdueRuns,
  tidyWebhooks,
} from './monitoring/index.ts';
import { remindOfKit, runRestoreTest, settleRestoreTests } from './restore-tests/index.ts';
import type { RunDeps } from './run-deps.ts';
import { sendDeps } from './send-deps.ts';

type RunFunction = (deps: RunDeps, context: RunContext) => Promise<RunOutcome>;

const RUN_FUNCTIONS: Record<RunKind, RunFunction> = {
  snapshot: runSnapshot,
  'restore-test': (deps, context) => runRestoreTest({ ...deps, readMachine: readSystemContent }, context),
  'restore-file': runRestoreFile,
  'restore-folder': runRestoreFolder,
  'restore-directory': runRestoreDirectory,
  verify: runVerify,
  prune: runPrune,
  copy: runCopy,
  'publish-keys': runPublishKeys,
  'update-rehearsal': runUpdateRehearsal,
  'audit-anchor': runAuditAnchor,
  'audit-verify': runAuditVerify,
};

export function findRunFunction(kind: RunKind): RunFunction {
  return RUN_FUNCTIONS[kind];
}

/** Small work that the server does itself, by name. */
const CHORES: { name: string; cron: string; act: (deps: Deps) => Promise<unknown> }[] = [
  { name: 'start due runs', cron: '* * * * *', act: startDueRuns },
  { name: 'apply retention', cron: '* * * * *', act: applyRetentionWhenDue },
  { name: 'copy to targets that lag behind', cron: '* * * * *', act: copyWhenDue },
  { name: 'go on reading back', cron: '* * * * *', act: goOnReadingBack },
  { name: 'give keys to targets', cron: '* * * * *', act: publishKeysWhenDue },
  { name: 'settle restore tests', cron: '* * * * *', act: settleRestoreTests },
  { name: 'remind of tests that wait for a kit', cron: '15 * * * *', act: remindOfKit },
  {
    name: 'collect deleted files',
    cron: '*/10 * * * *',
    act: (deps) => collectDoomedContents(deps, shippedUntil),
  },
  { name: 'anchor the audit log', cron: '* * * * *', act: anchorWhenDue },
  { name: 'verify the audit log', cron: '*/10 * * * *', act: verifyWhenDue },
  { name: 'let audit entries expire', cron: '40 3 * * *', act: expireDueEntries },
  {
    name: 'settle approvals',
    cron: '* * * * *',
    act: (deps) => settleApprovals({ ...deps, acts: approvalActs(deps) }),
  },
  { name: 'keep the key register', cron: '5 * * * *', act: settleKeyRegister },
  { name: 'settle permits of set-backs', cron: '* * * * *', act: settlePermits },
  {
    name: 'keep access reviews',
    cron: '40 7 * * *',
    act: (deps) => keepAccessReviews({ ...deps, workspaces: reviewWorkspaces(deps) }),
  },
  {
    name: 'send links that were asked for',
    cron: '* * * * *',
    act: (deps) => answerAsks({ ...deps, ...magicLinkRule(deps) }),
  },
  { name: 'remind of registers', cron: '50 7 * * *', act: remindOfRegisters },
  { name: 'let sign-ins of no target go', cron: '35 * * * *', act: expireSignIns },
  { name: 'clean sessions', cron: '20 * * * *', act: cleanSessions },
  { name: 'sum up refused sign-ins', cron: '*/10 * * * *', act: sumUpRefusals },
  { name: 'prune the API log', cron: '27 * * * *', act: pruneApiLog },
  { name: 'tell of ending API keys', cron: '10 8 * * *', act: tellOfEndingKeys },
  { name: 'tidy mail', cron: '17 * * * *', act: tidyMail },
  { name: 'bound the request log', cron: '25 * * * *', act: boundRequestLog },
  { name: "take over the machine's journal", cron: '* * * * *', act: enterHostActs },
  { name: 'renew the certificate', cron: '*/10 * * * *', act: renewCertificate },
  { name: 'watch the machine', cron: '* * * * *', act: watchMachine },
  {
    name: 'keep alerts',
    cron: '* * * * *',
    act: async (deps) => {
      const looked = await keepAlerts({ ...sendDeps(deps), look: () => checkForAlerts(deps) });
      // Without a look nothing is said outside: silence says it.
      if (looked) await beat(sendDeps(deps));
    },
  },
  { name: 'clear restores that were cut off', cron: '* * * * *', act: clearUnfinished },
  { name: 'judge snapshots', cron: '* * * * *', act: judgeSnapshots },
  { name: 'record capacity', cron: '* * * * *', act: recordCapacity },
  { name: 'stop overdue runs', cron: '* * * * *', act: stopOverdueRuns },
  { name: 'tell of snapshots', cron: '* * * * *', act: (deps) => queueSnapshots(sendDeps(deps)) },
  { name: 'tidy webhooks', cron: '37 * * * *', act: tidyWebhooks },
  { name: 'advance update', cron: '* * * * *', act: advanceUpdate },
];

/** Looks at once for what was missed, then by the clock. A chore that still runs is not started again. */
export function startScheduler(deps: Deps): { stop(): void } {
  const busy = new Set<string>();
  const perform = async (chore: (typeof CHORES)[number]) => {
    if (busy.has(chore.name) || !(await deps.isClaimed())) return;
    busy.add(chore.name);
    try {
      await chore.act(deps);
    } catch (error) {
      const known = error instanceof HoldfastError ? error.code : undefined;
      deps.log.error(
        { err: error, chore: chore.name, code: known },
        'A chore failed; it is tried again when next due',
      );
    } finally {
      busy.delete(chore.name);
    }
  };
  const tasks = CHORES.map((chore) => cron.schedule(chore.cron, () => perform(chore), { timezone: 'UTC' }));
  void ensureSchedules(deps).then(() => CHORES.map(perform));
  // The parts of an update follow each other at once, not at the next minute.
  const afterRuns = CHORES.find((chore) => chore.act === advanceUpdate);
  const unsubscribe = deps.runListener.subscribe(() => {
    if (afterRuns !== undefined && deps.config.hostSocket !== undefined) void perform(afterRuns);
  });
  return {
    stop: () => {
      unsubscribe();
      tasks.forEach((task) => void task.stop());
    },
  };
}
