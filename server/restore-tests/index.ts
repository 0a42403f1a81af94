export { restoreTestRoutes } from './routes.ts';
export { comparePages, isPdf, type PrintedPages, printReport, takeAttachedReport } from './print-report.ts';
export { runRestoreTest } from './run-restore-test.ts';
export { isOverdue, readTestSchedule, settleRestoreTests } from './service.ts';
export { type ReportTrust, type RestoreTestReport, verifyReport } from './report.ts';
export { KitMaterial, RestoreTest, RestoreTestMode } from './schema.ts';
export { testWithKit } from './test-with-kit.ts';
