export { restoreTestRoutes } from './routes.ts';
export { comparePages, isPdf, type PrintedPages, printReport, takeAttachedReport } from './print-report.ts';
export { runRestoreTest } from './run-restore-test.ts';
export { remindOfKit } from './remind-of-kit.ts';
export { settleRestoreTests } from './service.ts';
export { isOverdue, readTestSchedule } from './test-schedules.ts';
export { type ReportTrust, type RestoreTestReport, verifyReport } from './report.ts';
export { NewAssertion, type AssertionList } from './assertions/schema.ts';
export {
  KitMaterial,
  type LentKeys,
  RestoreTest,
  RestoreTestMode,
  type RestoreTestSettings,
} from './schema.ts';
export { testWithKit } from './test-with-kit.ts';
