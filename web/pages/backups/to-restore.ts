/** What somebody wants back from a snapshot. */
export interface ToRestore {
  kind: 'file' | 'folder';
  name: string;
  /** The folder it lies in; of a workspace's top folder, itself. */
  folderId: string;
  nodeId: string;
  /** Whether the workspace has it still, and it can make room. */
  present: boolean;
  /** The top folder of a workspace. */
  top: boolean;
}
