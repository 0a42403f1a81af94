/** Workspaces, folders and files. */
import type { FolderPage, Node, Workspace } from '../../server/workspaces/schema.ts';
import { API, request } from './client.ts';

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
export const changeNode = (id: string, change: { name?: string; parentId?: string }): Promise<Node> =>
  request(`/nodes/${id}`, { method: 'PATCH', body: change });
export const deleteNode = (id: string): Promise<void> => request(`/nodes/${id}`, { method: 'DELETE' });

export const contentUrl = (id: string): string => `${API}/files/${id}/content`;
export const previewUrl = (id: string): string => `${API}/files/${id}/preview`;
export const uploadUrl = (folderId: string): string => `${API}/folders/${folderId}/files`;
