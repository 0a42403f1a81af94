/** The front door of the workspaces module. */
export { bringFiles } from './bring-files.ts';
export { workspaceConsoleRoutes } from './console-routes.ts';
export { createFolders } from './create-folders.ts';
export { deleteUntouched } from './delete-untouched.ts';
export type { WorkspaceDeps } from './deps.ts';
export { exportDirectory } from './export.ts';
export { contentPath, requireSpace } from './file-store.ts';
export { importDirectory } from './import.ts';
export { collectDoomedContents } from './job.ts';
export { countUnmanaged, listGrantedWorkspaces } from './member-queries.ts';
export { requireRole } from './members.ts';
export { magicLinkRule } from './magic-links.ts';
export { ensureNameIndex } from './name-index.ts';
export { nameKeyId, nodeNameContext, openNodeNames } from './names.ts';
export { openStoredFile, readVerified } from './open-file.ts';
export { putInPlace } from './put-in-place.ts';
export { findLivePlace, listLiveVersions } from './queries.ts';
export { reviewWorkspaces } from './review-access.ts';
export { workspaceRoutes } from './routes.ts';
export {
  changeNode,
  createFolder,
  deleteNode,
  insertWorkspace,
  listWorkspaces,
  prepareWorkspace,
} from './service.ts';
export { prepareWorkspaces } from './start.ts';
export { syncTree } from './sync-file-system.ts';
export { tellManagers } from './tell-managers.ts';
export type { SkippedItem, TransferProgress, TransferReport } from './transfer-report.ts';
export { addFile, findFreeName } from './upload-file.ts';
