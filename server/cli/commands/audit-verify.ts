import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Command } from 'commander';
import {
  createLogVerifier,
  createSelectionVerifier,
  isEntryProof,
  isSelection,
  MOST_PROOF_BYTES,
  readLines,
  verifyEntryProof,
  type KeptHead,
  type LogTrust,
  type SelectionReport,
  type VerifyReport,
} from '../../audit/index.ts';
import { openTarget, readKeptHeads } from '../../backups/index.ts';
import { trustInRoot } from '../../keys/index.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { parseOrigin, parseVerifierKey } from '../../lib/merkle/checkpoint.ts';
import { addPlaceOptions, PLACE_WORDS, readPlace, type PlaceOptions } from '../target-place.ts';
import { addCommand, collect, type CommandContext } from '../command.ts';
import { formatBytes, formatInstant, printable } from '../output.ts';
import { readSmallFile, readWholeKit } from '../secrets.ts';

interface Options extends PlaceOptions {
  kit?: string;
  trustRoot?: string;
  key?: string;
  anchors?: string[];
  checkpoint?: string[];
}

const NOTE_LIMIT_BYTES = 64 * 1024;

export function addAuditVerify(audit: Command): void {
  addCommand<Options>(
    audit,
    'verify',
    'Check an export of the audit log, a selection of entries, or the proof of one, offline',
    (command) =>
      addPlaceOptions(command)
        .argument('<file>', 'an export, a selection, or a .tlog-proof')
        .option('--kit <file>', 'a recovery kit of the appliance: whom to believe is in it')
        .option(
          '--trust-root <base64>',
          'instead of a kit; public, in every kit and in `holdfast keys status --json`',
        )
        .option(
          '--key <verifier key>',
          'instead of both: the verifier key of the log, as an auditor keeps it',
        )
        .option(
          '--anchors <target>',
          `a backup target, whose anchors are compared: ${PLACE_WORDS}; may be given again`,
          collect,
        )
        .option('--checkpoint <file>', 'a checkpoint that was kept; may be given again', collect),
    async (context, options, file) => {
      const trust = await readTrust(options);
      const start = await readStart(file);
      if (isEntryProof(start)) return verifyProof(context, file, trust);
      if (isSelection(start)) return verifySelection(context, file, trust);
      const kept = [
        ...(await readAnchors(context, options.anchors ?? [], options)),
        ...(await readNotes(options.checkpoint ?? [])),
      ];
      const report = await verifyExport(context, file, trust, kept);
      context.output.result(report, describe(report));
      if (!report.ok) return EXIT.error;
      return report.lost > 0 ? EXIT.partial : EXIT.ok;
    },
  );
}

async function readTrust({ kit, trustRoot, key }: Options): Promise<LogTrust> {
  const given = [kit, trustRoot, key].filter((one) => one !== undefined);
  if (given.length !== 1) {
    throw new HoldfastError('invalid_input', 'Give one thing to believe: --kit, --trust-root or --key', {
      hint: 'The trust root is public: 44 characters in every recovery kit of the appliance.',
    });
  }
  if (kit !== undefined) {
    const { repositoryId, trustRoot: root } = await readWholeKit(kit);
    return trustInRoot(Buffer.from(root, 'base64'), repositoryId);
  }
  if (trustRoot !== undefined) {
    if (/^[A-Za-z0-9+/]{43}=$/.test(trustRoot)) return trustInRoot(Buffer.from(trustRoot, 'base64'));
    throw new HoldfastError(
      'invalid_input',
      '--trust-root is no trust root: 32 bytes in base64, 44 characters',
    );
  }
  const { origin, publicKey } = parseVerifierKey(key ?? '');
  return { repositoryId: parseOrigin(origin)?.repositoryId, pinned: [publicKey], keyOf: () => undefined };
}

async function readStart(path: string): Promise<string> {
  const handle = await open(path).catch((cause: unknown) => {
    throw new HoldfastError('invalid_input', `${path} cannot be read`, { cause });
  });
  try {
    const start = Buffer.alloc(64);
    const { bytesRead } = await handle.read(start, 0, start.length, 0);
    return start.toString('latin1', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function verifyProof({ output }: CommandContext, file: string, trust: LogTrust): Promise<number> {
  const { entry, position, head } = verifyEntryProof(await readSmallFile(file, MOST_PROOF_BYTES), trust);
  const at = head.at.toISOString();
  output.result(
    { valid: true, position, entry, checkpoint: { origin: head.origin, size: head.size, at } },
    [
      `In the log, unchanged: entry ${printable(String(entry.number))} at position ${position}`,
      `${printable(String(entry.action))}, ${printable(String(entry.result))}, at ${printable(String(entry.at))}`,
      `Checkpoint of ${formatInstant(at)} over ${head.size} entries`,
    ].join('\n'),
  );
  return EXIT.ok;
}

async function readAnchors(
  { output }: CommandContext,
  folders: readonly string[],
  place: PlaceOptions,
): Promise<KeptHead[]> {
  const all: KeptHead[] = [];
  for (const folder of folders) {
    const target = await openTarget(await readPlace(folder, place));
    try {
      const { heads, unreadable } = await readKeptHeads(target, basename(folder));
      for (const name of unreadable) output.note(`${printable(name)} is damaged, and not used`);
      if (heads.length === 0) output.note(`There are no anchors in ${printable(folder)}`);
      all.push(...heads);
    } finally {
      await target.close();
    }
  }
  return all;
}

async function readNotes(files: readonly string[]): Promise<KeptHead[]> {
  const notes: KeptHead[] = [];
  for (const file of files)
    notes.push({ note: await readSmallFile(file, NOTE_LIMIT_BYTES), source: basename(file) });
  return notes;
}

async function verifyExport(
  context: CommandContext,
  file: string,
  trust: LogTrust,
  kept: readonly KeptHead[],
): Promise<VerifyReport> {
  const verifier = createLogVerifier({ trust, kept });
  await readInto(context, file, (line) => {
    verifier.line(line);
  });
  return verifier.end();
}

async function verifySelection(context: CommandContext, file: string, trust: LogTrust): Promise<number> {
  const verifier = createSelectionVerifier(trust);
  await readInto(context, file, (line) => {
    verifier.line(line);
  });
  const report = verifier.end();
  context.output.result(report, describeSelection(report));
  return report.ok ? EXIT.ok : EXIT.error;
}

async function readInto(
  { output }: CommandContext,
  file: string,
  take: (line: Buffer) => void,
): Promise<void> {
  const bar = output.progress();
  const source = createReadStream(file, { highWaterMark: 1024 * 1024 });
  try {
    let lines = 0;
    for await (const line of readLines(source)) {
      take(line);
      lines += 1;
      if (lines % 10_000 === 0) bar.update(0, undefined, `${lines} lines, ${formatBytes(source.bytesRead)}`);
    }
  } finally {
    bar.stop();
    source.destroy();
  }
}

/** Findings shown to a person; `--json` has more. */
const SHOWN = 50;

function describe(report: VerifyReport): string {
  const { newest, kept } = report;
  const lines = [
    report.ok
      ? 'The log is as it was written'
      : `NOT as it was written: ${count(report.findingCount, 'finding')}`,
    `${count(report.entries, 'entry', 'entries')} from position ${report.from}, ${report.firstAt ?? '-'} to ${report.lastAt ?? '-'}`,
    `${count(report.checkpoints, 'checkpoint')} ${report.checkpoints === 1 ? 'fits' : 'fit'}${
      newest === null ? '' : `, the newest of ${formatInstant(newest.at)} over ${newest.size} entries`
    }`,
  ];
  if (report.expired > 0) {
    lines.push(
      `${count(report.expired, 'entry', 'entries')} of these only by time and hash: their period has ended`,
    );
  }
  if (kept.given > 0)
    lines.push(`${kept.believed} of ${count(kept.given, 'checkpoint')} from elsewhere could be believed`);
  if (report.uncovered > 0) {
    lines.push(
      `${count(report.uncovered, 'entry', 'entries')} behind the newest checkpoint: nothing signed speaks for them yet`,
    );
  }
  return [...lines, ...describeFindings(report)].join('\n');
}

function describeSelection(report: SelectionReport): string {
  const { head, proven, uncovered } = report;
  const lines = [
    report.ok
      ? `${count(proven, 'entry', 'entries')} in the log, unchanged`
      : `NOT as it was written: ${count(report.findingCount, 'finding')}; ${count(proven, 'entry', 'entries')} proven`,
    `Chosen by ${printable(JSON.stringify(report.filter))}, as the file says: that is not signed`,
  ];
  if (head !== null) lines.push(`Checkpoint of ${formatInstant(head.at)} over ${head.size} entries`);
  if (uncovered > 0)
    lines.push(
      `${count(uncovered, 'entry', 'entries')} behind the checkpoint: nothing signed speaks for them yet`,
    );
  return [...lines, ...describeFindings(report)].join('\n');
}

function describeFindings({
  findings,
  findingCount,
  notices,
}: Pick<VerifyReport, 'findings' | 'findingCount' | 'notices'>): string[] {
  const lines = findings.slice(0, SHOWN).map(({ code, message }) => `  ${code}: ${printable(message)}`);
  if (findingCount > SHOWN) lines.push(`  and ${findingCount - SHOWN} more`);
  return [...lines, ...notices.map((notice) => `note: ${printable(notice)}`)];
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}
