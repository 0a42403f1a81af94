import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { explainWriteError, syncDirectory, temporaryBeside } from '../../lib/files.ts';
import { addCommand } from '../command.ts';
import { formatBytes } from '../output.ts';

interface Options {
  since?: string;
}

export function addAuditExport(audit: Command): void {
  addCommand<Options>(
    audit,
    'export',
    'Write the audit log to a file that `holdfast audit verify` checks anywhere',
    (command) =>
      command
        .argument('<file>', 'a new file')
        .option(
          '--since <instant>',
          'from the last checkpoint before this time on (UTC), such as 2026-03-01',
        ),
    async ({ control, output }, options, file) => {
      const path = resolve(file);
      await refuseExisting(path);
      const query =
        options.since === undefined ? '' : `?since=${encodeURIComponent(readInstant(options.since))}`;
      const bar = output.progress();
      let sizeBytes: number;
      try {
        const content = await control().getStream(`/audit/export${query}`);
        sizeBytes = await writeAll(path, content, (bytes) => bar.update(0, undefined, formatBytes(bytes)));
      } finally {
        bar.stop();
      }
      output.result({ file: path, sizeBytes }, `${path}, ${formatBytes(sizeBytes)}`);
      return EXIT.ok;
    },
  );
}

async function refuseExisting(path: string): Promise<void> {
  if ((await stat(path).catch(() => undefined)) === undefined) return;
  throw new HoldfastError('invalid_input', `${path} exists already`, { hint: 'Choose another name.' });
}

function readInstant(text: string): string {
  const at = new Date(text);
  if (!Number.isNaN(at.getTime())) return at.toISOString();
  throw new HoldfastError('invalid_input', '--since is no time', {
    hint: 'For example 2026-03-01 or 2026-03-01T08:00:00Z.',
  });
}

/** Whole or not at all. @returns how many bytes. */
async function writeAll(
  path: string,
  content: AsyncIterable<Buffer>,
  report: (bytes: number) => void,
): Promise<number> {
  const temporary = temporaryBeside(path);
  let bytes = 0;
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      for await (const part of content) {
        await handle.writeFile(part);
        bytes += part.length;
        report(bytes);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    await syncDirectory(dirname(path));
    return bytes;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error instanceof HoldfastError ? error : explainWriteError(error, path);
  }
}
