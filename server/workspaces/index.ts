/** The front door of the workspaces module. */
export { workspaceConsoleRoutes } from './console-routes.ts';
export type { WorkspaceDeps } from './deps.ts';
export { exportDirectory } from './export.ts';
export { contentPath } from './file-store.ts';
export { importDirectory } from './import.ts';
export { collectDoomedContents } from './job.ts';
export { listGrantedWorkspaces } from './member-queries.ts';
export { requireRole } from './members.ts';
export { ensureNameIndex } from './name-index.ts';
export { nameKeyId, nodeNameContext, openNodeNames } from './names.ts';
export { openStoredFile, readVerified } from './open-file.ts';
export { listLiveVersions } from './queries.ts';
export { workspaceRoutes } from './routes.ts';
export { insertWorkspace, listWorkspaces, prepareWorkspace } from './service.ts';
export { prepareWorkspaces } from './start.ts';
export { syncTree } from './sync-file-system.ts';
export type { SkippedItem, TransferProgress, TransferReport } from './transfer-report.ts';
export { addFile } from './upload-file.ts';
