import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Transform } from 'node:stream';
import type { Command } from 'commander';
import type { LeakedLists } from '../../identity/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { addCommand } from '../command.ts';
import { formatBytes, formatInstant } from '../output.ts';

interface Options {
  atLeast: string;
}

export function addPasswords(program: Command): void {
  const passwords = program
    .command('passwords')
    .summary('Lists of leaked passwords, which are refused')
    .description('Lists of leaked passwords, which are refused');
  addCommand(
    passwords,
    'status',
    'Which lists are used',
    (command) => command,
    async ({ control, output }) => {
      const lists = await control().get<LeakedLists>('/console/leaked-passwords');
      output.result(lists, describe(lists));
    },
  );
  addCommand<Options>(
    passwords,
    'import-breached',
    'Take in a list of lines SHA-1:COUNT, as Have I Been Pwned publishes it "ordered by hash"; it takes the place of the one from before',
    (command) =>
      command
        .argument('<file>', 'the list, unpacked')
        .option('--at-least <times>', 'only what was seen so often', '1'),
    async ({ control, output }, options, file) => {
      if (!/^[1-9]\d{0,6}$/.test(options.atLeast))
        throw new HoldfastError('invalid_input', '--at-least is a number from 1 to 1000000');
      const path = resolve(file);
      const found = await stat(path).catch(() => undefined);
      if (found?.isFile() !== true) throw new HoldfastError('invalid_input', `${path} is no file`);
      const bar = output.progress();
      let sent = 0;
      const watch = new Transform({
        transform(piece: Buffer, _encoding, done) {
          sent += piece.length;
          bar.update(sent, found.size, `${formatBytes(sent)} of ${formatBytes(found.size)}`);
          done(null, piece);
        },
      });
      const content = createReadStream(path, { highWaterMark: 1024 * 1024 });
      content.on('error', (error) => watch.destroy(error));
      try {
        const where = `/console/leaked-passwords?atLeast=${options.atLeast}`;
        const lists = await control().sendContent<LeakedLists>(where, content.pipe(watch), found.size);
        output.result(lists, describe(lists));
      } finally {
        bar.stop();
      }
    },
  );
}

function describe({ own, given }: LeakedLists): string {
  const lines = [`With Holdfast: ${own.passwords.toLocaleString('en')} passwords`];
  if (given === null) lines.push('Your own list: none');
  else {
    const { passwords, atLeast, sizeBytes, importedAt, usable } = given;
    const often = atLeast === 1 ? '' : `, seen at least ${atLeast} times`;
    lines.push(
      `Your own list: ${passwords.toLocaleString('en')} passwords${often}, ${formatBytes(sizeBytes)}, of ${formatInstant(importedAt)}`,
    );
    if (!usable) lines.push('Its file is missing or damaged, so it does not count. Import it again.');
  }
  return lines.join('\n');
}
