export { restoreTestRoutes } from './routes.ts';
export { printReport } from './print-report.ts';
export { runRestoreTest } from './run-restore-test.ts';
export { remindOfKit } from './remind-of-kit.ts';
export { settleRestoreTests } from './service.ts';
export { isOverdue, readTestSchedule } from './test-schedules.ts';
export { type RestoreTestReport, verifyReport } from './report.ts';
export { NewAssertion, type AssertionList } from './assertions/schema.ts';
export {
  KitMaterial,
  type LentKeys,
  RestoreTest,
  RestoreTestMode,
  type RestoreTestSettings,
} from './schema.ts';
export type { SystemContent } from './scene.ts';
export { testWithKit } from './test-with-kit.ts';
