export { restoreTestRoutes } from './routes.ts';
export { runRestoreTest } from './run-restore-test.ts';
export {
  isOverdue,
  readTestSchedule,
  settleRestoreTests,
  showRestoreTests,
  startRestoreTest,
  type RestoreTestDeps,
} from './service.ts';
export { verifyReport, readReport, type ReportTrust, type RestoreTestReport } from './report.ts';
export {
  Grade,
  KitMaterial,
  RestoreTest,
  RestoreTestMode,
  RestoreTestPage,
  StartRestoreTest,
} from './schema.ts';
export { testWithKit, type KitTestOptions } from './test-with-kit.ts';
export type { TestVerdict } from './perform-test.ts';
