import type { Command } from 'commander';
import { checkHardening, type HardeningReport } from '../../appliance/host/index.ts';
import { EXIT, HoldfastError } from '../../lib/errors.ts';
import { addCommand } from '../command.ts';
import { printable } from '../output.ts';

interface Options {
  root?: string;
}

export function addHardening(program: Command): void {
  addCommand<Options>(
    program,
    'hardening',
    'Check this machine, or a built system tree, against our list of the CIS benchmark',
    (command) =>
      command.option('--root <folder>', 'a system tree that does not run, such as an unpacked image'),
    async ({ output }, { root }) => {
      if (process.getuid?.() !== 0) {
        throw new HoldfastError('forbidden', 'Only root may look at everything that is checked', {
          hint: 'The pages of the appliance show the same report to administrators.',
        });
      }
      const report = await checkHardening(root);
      output.result(report, describe(report));
      return report.counts.fail === 0 ? EXIT.ok : EXIT.error;
    },
  );
}

function describe({ items, counts }: HardeningReport): string {
  const mark = { pass: 'ok  ', fail: 'FAIL', excepted: 'exc ', 'not-checked': '–   ' } as const;
  const lines = items.map(
    ({ state, cis, id, title, reason }) =>
      `${mark[state]}  ${cis.padEnd(9)} ${id}: ${title}\n      ${printable(reason)}`,
  );
  const { pass, fail, excepted, notChecked } = counts;
  return [...lines, '', `${pass} pass, ${fail} fail, ${excepted} excepted, ${notChecked} not checked`].join(
    '\n',
  );
}
