/** The front door of the workspaces module. */
export { workspaceConsoleRoutes } from './console-routes.ts';
export type { WorkspaceDeps } from './deps.ts';
export { type FileSeal } from './file-format.ts';
export { contentPath, openContent, requireSpace } from './file-store.ts';
export { openStored } from './download-file.ts';
export { EXPORT_MARK, exportDirectory, type ExportRequest } from './export.ts';
export { importDirectory, type ImportRequest } from './import.ts';
export { collectDoomedContents } from './job.ts';
export { requireRole, type Visitor } from './members.ts';
export { ensureNameIndex } from './name-index.ts';
export { nameKeyId, nodeNameContext, openNodeNames, workspaceNameContext } from './names.ts';
export { openStoredFile, readVerified, type OpenedFile, type StoredBytes } from './open-file.ts';
export { listLiveVersions } from './queries.ts';
export { workspaceRoutes } from './routes.ts';
export { insertWorkspace, prepareWorkspace, type PreparedWorkspace } from './service.ts';
export { prepareWorkspaces } from './start.ts';
export type {
  ExportReport,
  ImportReport,
  SkippedItem,
  TransferProgress,
  TransferReport,
} from './transfer-report.ts';
export { addFile, type AddedFile, uploadFile, type UploadRequest } from './upload-file.ts';
