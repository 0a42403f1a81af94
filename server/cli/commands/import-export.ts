import { resolve } from 'node:path';
import type { Command } from 'commander';
import { addCommand } from '../command.ts';
import { transfer } from '../transfer.ts';

interface Options {
  folder?: string;
}

export function addImport(program: Command): void {
  addCommand<Options>(
    program,
    'import',
    'Take a directory of this machine in; may be repeated, what is there already is not taken twice',
    (command) =>
      command
        .argument('<directory>', 'what to take in')
        .option('--folder <id>', 'the folder to put it in; the top of the workspace when absent'),
    (context, options, directory) =>
      transfer(
        context,
        '/console/import',
        { sourceDir: resolve(directory), ...folderOf(options) },
        'Took in',
      ),
  );
}

export function addExport(program: Command): void {
  addCommand<Options>(
    program,
    'export',
    'Write the files out, under their own names, into a new or empty directory or an earlier export',
    (command) =>
      command
        .argument('<directory>', 'where to')
        .option('--folder <id>', 'the folder to write; the whole workspace when absent'),
    (context, options, directory) =>
      transfer(context, '/console/export', { targetDir: resolve(directory), ...folderOf(options) }, 'Wrote'),
  );
}

function folderOf(options: Options): { folderId?: string } {
  return options.folder === undefined ? {} : { folderId: options.folder };
}
