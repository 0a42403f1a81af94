import type { Command } from 'commander';
import type { Snapshot } from '../../backups/index.ts';
import { addCommand } from '../command.ts';
import { formatBytes, formatInstant, table } from '../output.ts';

export function addSnapshots(program: Command): void {
  addCommand<{ all?: boolean }>(
    program,
    'snapshots',
    'List the snapshots, newest first',
    (command) => command.option('--all', 'forgotten ones too'),
    async ({ control, output }, options) => {
      const client = control();
      const snapshots: Snapshot[] = [];
      let cursor: string | null = null;
      do {
        const query: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
        const page: { items: Snapshot[]; nextCursor: string | null } = await client.get(
          `/snapshots?limit=200${query}`,
        );
        snapshots.push(...page.items.filter((one) => options.all === true || one.state !== 'forgotten'));
        cursor = page.nextCursor;
      } while (cursor !== null);
      output.result({ items: snapshots }, describe(snapshots));
    },
  );
}

function describe(snapshots: readonly Snapshot[]): string {
  if (snapshots.length === 0) return 'No snapshots yet. `holdfast snapshot` takes the first.';
  const rows = snapshots.map((snapshot) => [
    snapshot.id.slice(0, 12),
    formatInstant(snapshot.takenAt),
    snapshot.state,
    String(snapshot.fileCount),
    formatBytes(snapshot.sizeBytes),
    snapshot.targets
      .filter((target) => target.state === 'stored')
      .map((target) => target.name)
      .join(', '),
    snapshot.proof?.grade ?? '',
  ]);
  return table(['id', 'taken', 'state', 'files', 'size', 'on', 'proof'], rows);
}
