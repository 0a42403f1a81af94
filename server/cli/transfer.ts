/** Import and export, followed line by line. */
import { EXIT } from '../lib/errors.ts';
import type { SkippedItem, TransferProgress, TransferReport } from '../workspaces/index.ts';
import type { CommandContext } from './command.ts';
import { formatBytes, printable } from './output.ts';

/** @returns 3 when something was skipped. */
export async function transfer(
  { control, output }: CommandContext,
  path: string,
  body: Record<string, unknown>,
  verb: string,
): Promise<number> {
  const bar = output.progress();
  let report: TransferReport | undefined;
  try {
    await control().sendStreaming(path, body, (line) => {
      const progress = line.progress as TransferProgress | undefined;
      const skipped = line.skipped as SkippedItem | undefined;
      if (progress !== undefined) {
        bar.update(0, undefined, `${progress.files} files  ${formatBytes(progress.bytes)}`);
      }
      if (skipped !== undefined) output.note(`skipped ${printable(skipped.path)}: ${skipped.reason}`);
      if (line.report !== undefined) report = line.report as TransferReport;
    });
  } finally {
    bar.stop();
  }
  output.result(report, report === undefined ? '' : describe(report, verb));
  return report === undefined ? EXIT.error : report.skippedCount > 0 ? EXIT.partial : EXIT.ok;
}

function describe(report: TransferReport, verb: string): string {
  const lines = [
    `${verb} ${report.files} files and ${report.folders} folders, ${formatBytes(report.bytes)}`,
    `${report.replaced} brought up to date, ${report.unchanged} unchanged`,
  ];
  if (report.skippedCount > 0) lines.push(`${report.skippedCount} skipped, listed above`);
  return lines.join('\n');
}
