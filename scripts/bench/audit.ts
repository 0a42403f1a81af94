/**
 * How fast the audit log is, on a PostgreSQL of its own with the settings of the embedded one, and a real keyd.
 *
 *   node scripts/bench/audit.ts append [--seconds 60] [--writers 16]
 *     Acts that write one entry each, while the sequencer places them and heads are signed; then the log is exported and verified
 *     whole, and a thousand entries are proven.
 *   node scripts/bench/audit.ts search [--entries 10000000] [--folder DIR] [--fill]
 *     Times every filter of the page on that many entries. Filled by one statement, without a tree, which searching does not read.
 *     A folder is kept and filled once; `--fill` ends then.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureAppend } from './audit/append.ts';
import { openLogPlace } from './audit/log-place.ts';
import { measureSearch } from './audit/search.ts';
import { fillEntries } from './audit/fill.ts';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    writers: { type: 'string', default: '16' },
    entries: { type: 'string', default: '10000000' },
    folder: { type: 'string' },
    fill: { type: 'boolean', default: false },
  },
});
const [mode] = positionals;
if (mode !== 'append' && mode !== 'search') {
  process.stderr.write('node scripts/bench/audit.ts append|search\n');
  process.exit(2);
}

const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'holdfast-bench-audit-'));
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const place = await openLogPlace(folder);
try {
  if (mode === 'append') {
    await measureAppend(place, { seconds: Number(options.seconds), writers: Number(options.writers), say });
  } else {
    await fillEntries(place, Number(options.entries), say);
    if (!options.fill) await measureSearch(place, say);
  }
} finally {
  await place.close();
  if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
}
