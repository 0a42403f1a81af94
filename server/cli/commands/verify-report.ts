import { open } from 'node:fs/promises';
import type { Command } from 'commander';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { verifyReport, type RestoreTestReport } from '../../restore-tests/index.ts';
import { addCommand } from '../command.ts';
import { formatInstant, printable } from '../output.ts';
import { readWholeKit } from '../secrets.ts';

interface Options {
  kit: string;
}

const REPORT_LIMIT_BYTES = 1024 * 1024;

export function addVerifyReport(program: Command): void {
  addCommand<Options>(
    program,
    'verify-report',
    'Check the signature of a restore-test report; needs no running appliance',
    (command) =>
      command
        .argument('<file>', 'the report')
        .requiredOption('--kit <file>', 'the recovery kit, for its trust root'),
    async ({ output }, options, file) => {
      const kit = await readWholeKit(options.kit);
      const report = await verifyReport(await readReportFile(file), {
        kit: {
          repositoryId: kit.repositoryId,
          trustRoot: Buffer.from(kit.trustRoot, 'base64'),
          ageIdentity: kit.ageIdentity,
        },
      });
      output.result({ valid: true, report }, describe(report));
      return EXIT.ok;
    },
  );
}

async function readReportFile(path: string): Promise<Buffer> {
  const file = await open(path).catch((cause: unknown) => {
    throw new HoldfastError('invalid_input', `${path} cannot be read`, { cause });
  });
  try {
    const { size } = await file.stat();
    if (size > REPORT_LIMIT_BYTES)
      throw new HoldfastError('too_large', `${path} is too large to be a report`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}

function describe(report: RestoreTestReport): string {
  const failed = report.checks.filter((check) => check.state === 'failed');
  return [
    `Signed by this appliance, unchanged: restore test ${report.id}`,
    `${report.state}${report.grade === null ? '' : `, ${report.grade}`}, ${report.mode}, ended ${formatInstant(report.finishedAt)}`,
    `Snapshot ${report.snapshot.id}, taken ${formatInstant(report.snapshot.takenAt)}`,
    `${report.checks.length} checks, ${failed.length} failed`,
    ...failed.map(
      (check) =>
        `  ${printable(check.label)}: expected ${printable(check.expected)}, found ${printable(check.found)}`,
    ),
  ].join('\n');
}
