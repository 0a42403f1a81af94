/** The workspaces that the person is a member of, read once. */
import { asApiError, type ApiError } from './client.ts';
import { listWorkspaces } from './files.ts';
import type { Workspace } from '../../server/workspaces/schema.ts';

let list = $state.raw<readonly Workspace[]>([]);
let known = $state(false);
let failure = $state.raw<ApiError>();
let chosen = $state('');
let reading: Promise<void> | undefined;

export const workspaces = {
  get list(): readonly Workspace[] {
    return list;
  },
  get current(): Workspace | undefined {
    return list.find((workspace) => workspace.id === chosen) ?? list[0];
  },
  /** Known to belong to none: not merely that the list has not come yet. */
  get none(): boolean {
    return known && list.length === 0;
  },
  /** Why the list could not be read. */
  get error(): ApiError | undefined {
    return failure;
  },
  choose(id: string): void {
    chosen = id;
  },
  /** Reads the list unless it is there; an empty one is read again, as somebody may have been added since. */
  async load(): Promise<void> {
    reading ??= listWorkspaces().then((found) => {
      list = found;
      known = true;
      failure = undefined;
      if (found.length === 0) reading = undefined;
    });
    try {
      await reading;
    } catch (error) {
      reading = undefined;
      failure = asApiError(error);
    }
  },
  /** When another person signs in. */
  forget(): void {
    list = [];
    known = false;
    failure = undefined;
    reading = undefined;
  },
};
