/** Workspaces, folders and files. */
import type {
  BatchHead,
  BatchReply,
  CreateFoldersReply,
  FolderPage,
  Node,
  Workspace,
} from '../../server/workspaces/schema.ts';
import { API, request } from './client.ts';
import { sendBytes } from './send-bytes.ts';

export interface FolderView {
  cursor?: string | undefined;
  limit?: number;
  sort?: string;
  order?: string;
  search?: string;
}

export const listWorkspaces = async (signal?: AbortSignal): Promise<Workspace[]> =>
  (await request<{ items: Workspace[] }>('/workspaces', { signal })).items;
export const getFolder = (id: string, query: FolderView, signal?: AbortSignal): Promise<FolderPage> =>
  request(`/folders/${id}`, { query: { ...query }, signal });
export const createFolder = (parentId: string, name: string): Promise<Node> =>
  request('/folders', { method: 'POST', body: { parentId, name } });
/** The folder at each path, or why there can be none. */
export const createFolders = async (
  id: string,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<CreateFoldersReply['items']> =>
  (await request<CreateFoldersReply>(`/folders/${id}/paths`, { method: 'POST', body: { paths }, signal }))
    .items;
/** Sends many small files at once. @returns what became of each. */
export async function sendBatch(
  id: string,
  head: BatchHead,
  contents: readonly ArrayBuffer[],
  options: Parameters<typeof sendBytes>[3],
): Promise<BatchReply['items']> {
  const text = new TextEncoder().encode(JSON.stringify(head));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, text.length);
  const body = new Blob([length, text, ...contents]);
  const reply = await sendBytes('POST', `${API}/folders/${id}/batch`, body, options);
  return (JSON.parse(reply) as BatchReply).items;
}
export const changeNode = (id: string, change: { name?: string; parentId?: string }): Promise<Node> =>
  request(`/nodes/${id}`, { method: 'PATCH', body: change });
export const deleteNode = (id: string): Promise<void> => request(`/nodes/${id}`, { method: 'DELETE' });

export const contentUrl = (id: string): string => `${API}/files/${id}/content`;
export const previewUrl = (id: string): string => `${API}/files/${id}/preview`;
export const uploadUrl = (folderId: string): string => `${API}/folders/${folderId}/files`;
