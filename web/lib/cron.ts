/**
 * Five-field cron in UTC, as schedules keep it, in the few forms that a person chooses from; everything else is `custom` and
 * shown as it is.
 */
export type CronPlan =
  | { every: 'hour'; minute: number }
  | { every: 'day'; minute: number; hour: number }
  | { every: 'week'; minute: number; hour: number; weekday: number }
  | { every: 'month'; minute: number; hour: number; day: number }
  | { every: 'year'; minute: number; hour: number; day: number; month: number }
  | { every: 'custom'; cron: string };

export const MONTHS = [
  ...['January', 'February', 'March', 'April', 'May', 'June'],
  ...['July', 'August', 'September', 'October', 'November', 'December'],
];
export const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** Reads a cron line. */
export function parseCron(cron: string): CronPlan {
  const fields = cron.trim().split(/\s+/);
  const [minute = '', hour = '', day = '', month = '', weekday = ''] = fields;
  const custom: CronPlan = { every: 'custom', cron };
  if (fields.length !== 5 || !within(minute, 0, 59)) return custom;
  const at = { minute: Number(minute) };
  if (within(month, 1, 12)) {
    if (weekday !== '*' || !within(hour, 0, 23) || !within(day, 1, 28)) return custom;
    return { every: 'year', ...at, hour: Number(hour), day: Number(day), month: Number(month) };
  }
  if (month !== '*') return custom;
  if (hour === '*' && day === '*' && weekday === '*') return { every: 'hour', ...at };
  if (!within(hour, 0, 23)) return custom;
  const time = { ...at, hour: Number(hour) };
  if (day === '*' && weekday === '*') return { every: 'day', ...time };
  if (day === '*' && within(weekday, 0, 7)) return { every: 'week', ...time, weekday: Number(weekday) % 7 };
  if (weekday === '*' && within(day, 1, 28)) return { every: 'month', ...time, day: Number(day) };
  return custom;
}

/** Writes it. */
export function cronOf(plan: CronPlan): string {
  switch (plan.every) {
    case 'hour':
      return `${plan.minute} * * * *`;
    case 'day':
      return `${plan.minute} ${plan.hour} * * *`;
    case 'week':
      return `${plan.minute} ${plan.hour} * * ${plan.weekday}`;
    case 'month':
      return `${plan.minute} ${plan.hour} ${plan.day} * *`;
    case 'year':
      return `${plan.minute} ${plan.hour} ${plan.day} ${plan.month} *`;
    case 'custom':
      return plan.cron.trim().replace(/\s+/g, ' ');
  }
}

/** The next instants of a plan after `fromMs`; none for a custom one, which the appliance works out. */
export function nextRuns(plan: CronPlan, fromMs: number, count: number): Date[] {
  const found: Date[] = [];
  if (plan.every === 'custom') return found;
  const cursor = new Date(fromMs);
  cursor.setUTCSeconds(0, 0);
  cursor.setUTCMinutes(plan.minute);
  if (plan.every !== 'hour') cursor.setUTCHours(plan.hour);
  const stepHours = plan.every === 'hour' ? 1 : 24;
  for (let step = 0; found.length < count && step < 1_200; step += 1) {
    if (cursor.getTime() > fromMs && fits(plan, cursor)) found.push(new Date(cursor));
    cursor.setUTCHours(cursor.getUTCHours() + stepHours);
  }
  return found;
}

/** The same plan read on another clock, `offsetMinutes` ahead. Hourly, monthly, yearly and custom plans have no such reading. */
export function shiftPlan(plan: CronPlan, offsetMinutes: number): CronPlan {
  if (plan.every !== 'day' && plan.every !== 'week') return plan;
  const total = plan.hour * 60 + plan.minute + offsetMinutes;
  const days = Math.floor(total / 1440);
  const rest = total - days * 1440;
  const time = { hour: Math.floor(rest / 60), minute: rest % 60 };
  if (plan.every === 'day') return { every: 'day', ...time };
  return { every: 'week', ...time, weekday: (plan.weekday + days + 7) % 7 };
}

function fits(plan: CronPlan, date: Date): boolean {
  if (plan.every === 'week') return date.getUTCDay() === plan.weekday;
  if (plan.every === 'month') return date.getUTCDate() === plan.day;
  if (plan.every === 'year') return date.getUTCDate() === plan.day && date.getUTCMonth() + 1 === plan.month;
  return true;
}

function within(text: string, least: number, most: number): boolean {
  return /^\d{1,2}$/.test(text) && Number(text) >= least && Number(text) <= most;
}
