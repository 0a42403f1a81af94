import { open, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import {
  depthWords,
  describeVerification,
  printVerification,
  VERIFICATION_KIND,
  verifyVerificationReport,
  type VerificationReport,
} from '../../backups/index.ts';
import { readSignedReport, type ReportTrust, type SignedReport } from '../../keys/index.ts';
import { EXIT, HoldfastError, isSystemError } from '../../lib/errors.ts';
import { comparePages, isPdf, takeAttachedReport, type PrintedPages } from '../../lib/report-pages.ts';
import { printReport, verifyReport, type RestoreTestReport } from '../../restore-tests/index.ts';
import { addCommand } from '../command.ts';
import { formatInstant, printable } from '../output.ts';
import { describeRto } from '../rto.ts';
import { readWholeKit } from '../secrets.ts';

interface Options {
  kit?: string;
  trustRoot?: string;
  pdf?: string;
}

/** Of a printed one, which has the letters in it. */
const FILE_LIMIT_BYTES = 8 * 1024 * 1024;

export function addVerifyReport(program: Command): void {
  addCommand<Options>(
    program,
    'verify-report',
    'Check the signature of a report of a restore test or a verification, offline: by the trust root of its appliance, or by a recovery kit',
    (command) =>
      command
        .argument('<file>', 'the report, as it was downloaded: JSON lines or PDF')
        .option(
          '--trust-root <base64>',
          'public; in every recovery kit, and in `holdfast keys status --json`',
        )
        .option(
          '--kit <file>',
          'a recovery kit instead; needed for reports from before they had a certificate',
        )
        .option('--pdf <file>', 'write the report, once it is found to be signed, as a PDF to this new file'),
    async ({ output }, options, file) => {
      const trust = await readTrust(options);
      const bytes = await readReportFile(file);
      const printed = isPdf(bytes);
      const signed = printed ? takeAttachedReport(bytes) : bytes;
      const { report, words, print } = await believe(signed, trust);
      if (options.pdf !== undefined) await writePdf(options.pdf, await print(signed));
      const pages = printed ? await comparePages(bytes, signed, print) : undefined;
      const about = pages === undefined ? [] : [PAGES[pages]];
      output.result({ valid: true, ...(pages && { pages }), report }, [...about, words].join('\n'));
      return pages === undefined || pages === 'as-signed' ? EXIT.ok : EXIT.partial;
    },
  );
}

interface Believed {
  report: SignedReport;
  words: string;
  print: (signed: Buffer) => Promise<Buffer>;
}

/** By the kind that it says it is of; the signature is over that, too. @throws as `verifySignedReport` */
async function believe(signed: Buffer, trust: ReportTrust): Promise<Believed> {
  if (readSignedReport(signed)?.kind === VERIFICATION_KIND) {
    const report = await verifyVerificationReport(signed, trust);
    return { report, words: describeReadings(report), print: printVerification };
  }
  const report = await verifyReport(signed, trust);
  return { report, words: describe(report), print: printReport };
}

const PAGES: Record<PrintedPages, string> = {
  'as-signed': 'The pages are what the signed report says.',
  altered:
    'THE PAGES WERE ALTERED: they are not what is printed of the signed report. Believe only what follows.',
  'other-version':
    'The pages were not compared: another version of Holdfast printed them. Believe only what follows.',
};

async function writePdf(path: string, pdf: Buffer): Promise<void> {
  await writeFile(path, pdf, { flag: 'wx' }).catch((cause: unknown) => {
    const there = isSystemError(cause, 'EEXIST');
    throw new HoldfastError('invalid_input', `${path} ${there ? 'is there already' : 'cannot be written'}`, {
      cause,
    });
  });
}

async function readTrust({ kit, trustRoot }: Options): Promise<ReportTrust> {
  if ((kit === undefined) === (trustRoot === undefined)) {
    throw new HoldfastError(
      'invalid_input',
      'Give the trust root to believe: --trust-root or --kit, one of them',
      {
        hint: 'The trust root is public: 44 characters in every recovery kit of the appliance that made the report.',
      },
    );
  }
  if (kit !== undefined) {
    const { repositoryId, trustRoot: root, ageIdentity } = await readWholeKit(kit);
    return { kit: { repositoryId, trustRoot: Buffer.from(root, 'base64'), ageIdentity } };
  }
  if (trustRoot !== undefined && /^[A-Za-z0-9+/]{43}=$/.test(trustRoot)) {
    return { trustRoot: Buffer.from(trustRoot, 'base64') };
  }
  throw new HoldfastError(
    'invalid_input',
    '--trust-root is no trust root: 32 bytes in base64, 44 characters',
  );
}

async function readReportFile(path: string): Promise<Buffer> {
  const file = await open(path).catch((cause: unknown) => {
    throw new HoldfastError('invalid_input', `${path} cannot be read`, { cause });
  });
  try {
    const { size } = await file.stat();
    if (size > FILE_LIMIT_BYTES) throw new HoldfastError('too_large', `${path} is too large to be a report`);
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
    ...(report.rtoMs === null ? [] : [`Recovery time ${describeRto(report.rtoMs, report.rtoBasis)}`]),
    `${report.checks.length} checks, ${failed.length} failed`,
    ...failed.map(
      (check) =>
        `  ${printable(check.label)}: expected ${printable(check.expected)}, found ${printable(check.found)}`,
    ),
  ].join('\n');
}

/** So many damaged objects are named; the report has the rest. */
const MOST_NAMED = 20;

function describeReadings(report: VerificationReport): string {
  const { target, summary } = report;
  const left = report.readings.at(-1)?.left ?? [];
  return [
    `Signed by this appliance, unchanged: verification ${report.id}`,
    `${report.state}, ended ${formatInstant(report.finishedAt)}, of the target ${printable(target.name)} (${target.id})`,
    printable(describeVerification(report)),
    depthWords(summary.depth),
    ...left.slice(0, MOST_NAMED).map((one) => `  ${printable(one.object)}: ${printable(one.message)}`),
  ].join('\n');
}
