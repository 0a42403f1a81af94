/** The workspaces that the person is a member of, read once. */
import { listWorkspaces } from './files.ts';
import type { Workspace } from '../../server/workspaces/schema.ts';

let list = $state.raw<readonly Workspace[]>([]);
let chosen = $state('');
let reading: Promise<void> | undefined;

export const workspaces = {
  get list(): readonly Workspace[] {
    return list;
  },
  get current(): Workspace | undefined {
    return list.find((workspace) => workspace.id === chosen) ?? list[0];
  },
  choose(id: string): void {
    chosen = id;
  },
  /** Reads the list unless it is there. A failure is left to the page that needs it. */
  async load(): Promise<void> {
    reading ??= listWorkspaces().then((found) => {
      list = found;
    });
    try {
      await reading;
    } catch {
      reading = undefined;
    }
  },
  /** When another person signs in. */
  forget(): void {
    list = [];
    reading = undefined;
  },
};
