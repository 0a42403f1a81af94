import type { Command } from 'commander';
import type { AuditEntry } from '../../audit/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { addCommand } from '../command.ts';
import { printable, table } from '../output.ts';
import { addAuditExport } from './audit-export.ts';
import { addAuditVerify } from './audit-verify.ts';

interface Options {
  limit: string;
  action?: string;
}

const LIMIT = 10_000;

export function addAudit(program: Command): void {
  const audit = program.command('audit').summary('The audit log').description('The audit log');
  addCommand<Options>(
    audit,
    'list',
    'The newest entries of the audit log',
    (command) =>
      command
        .option('--limit <number>', `how many, at most ${LIMIT}`, '50')
        .option('--action <name>', 'only this action; one that ends in a dot stands for all below it'),
    async ({ control, output }, options) => {
      const wanted = readLimit(options.limit);
      const client = control();
      const entries: AuditEntry[] = [];
      let cursor: string | null = null;
      do {
        const query = new URLSearchParams({ limit: String(Math.min(200, wanted - entries.length)) });
        if (cursor !== null) query.set('cursor', cursor);
        if (options.action !== undefined) query.set('action', options.action);
        const page: { items: AuditEntry[]; nextCursor: string | null } = await client.get(
          `/audit?${query.toString()}`,
        );
        entries.push(...page.items);
        cursor = page.nextCursor;
      } while (cursor !== null && entries.length < wanted);
      output.result({ items: entries }, describe(entries));
    },
  );
  addAuditExport(audit);
  addAuditVerify(audit);
}

function readLimit(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= LIMIT) return limit;
  throw new HoldfastError('invalid_input', `--limit is a whole number from 1 to ${LIMIT}`);
}

function describe(entries: readonly AuditEntry[]): string {
  const rows = entries.map((entry) => [
    entry.number,
    entry.at.slice(0, 19).replace('T', ' '),
    printable(entry.actorLabel ?? entry.actorId?.slice(0, 8) ?? '-'),
    entry.action,
    entry.result,
    `${entry.objectType} ${printable(entry.objectId ?? '').slice(0, 16)}`.trim(),
  ]);
  return table(['number', 'at (UTC)', 'who', 'action', 'result', 'on'], rows);
}
