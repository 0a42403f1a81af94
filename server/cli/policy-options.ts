/** A policy of retention from the options of a command. */
import { InvalidArgumentError, type Command } from 'commander';
import { KEEP_NOTHING_MORE, type RetentionPolicy } from '../backups/index.ts';

export interface PolicyOptions {
  keepLast?: number;
  keepHourly?: number;
  keepDaily?: number;
  keepWeekly?: number;
  keepMonthly?: number;
  keepYearly?: number;
  keepWithinDays?: number;
  minimumCount?: number;
  maximumAgeDays?: number;
  partsDays?: number;
  timeZone?: string;
}

export function addPolicyOptions(command: Command): Command {
  return command
    .option('--keep-last <n>', 'draft: the newest', toCount)
    .option('--keep-hourly <n>', 'draft: the newest of each of so many hours', toCount)
    .option('--keep-daily <n>', 'draft: … days', toCount)
    .option('--keep-weekly <n>', 'draft: … weeks', toCount)
    .option('--keep-monthly <n>', 'draft: … months', toCount)
    .option('--keep-yearly <n>', 'draft: … years', toCount)
    .option('--keep-within-days <n>', 'draft: all within so many days of the newest', toCount)
    .option('--minimum-count <n>', 'draft: never fewer than this (default: 1)', toCount)
    .option('--maximum-age-days <n>', 'draft: nothing older, unless it is held', toCount)
    .option('--parts-days <n>', 'draft: logs and configuration by themselves, for so many days', toCount)
    .option('--time-zone <name>', 'draft: in which days begin (default: UTC)');
}

/** @returns undefined when none of the options was given. */
export function policyOfOptions(options: PolicyOptions): RetentionPolicy | undefined {
  const given = {
    last: options.keepLast,
    hourly: options.keepHourly,
    daily: options.keepDaily,
    weekly: options.keepWeekly,
    monthly: options.keepMonthly,
    yearly: options.keepYearly,
    withinDays: options.keepWithinDays,
    minimumCount: options.minimumCount,
    maximumAgeDays: options.maximumAgeDays,
    partsDays: options.partsDays,
    timeZone: options.timeZone,
  };
  const said = Object.entries(given).filter(([, value]) => value !== undefined);
  return said.length === 0 ? undefined : { ...KEEP_NOTHING_MORE, ...Object.fromEntries(said) };
}

function toCount(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('A whole number is meant.');
  return Number(text);
}
