/** What a number may be. Said once: the field shows it, and the button that sends the number obeys it. */
import { formatCount } from './format.ts';

export interface NumberRange {
  label: string;
  min: number;
  max?: number;
  /** Stands behind the number: `hours`, `%`. Left out where the label says it. */
  unit?: string;
  /** Empty is a choice too, and the hint says which. */
  optional?: boolean;
}

type Entered = number | null | undefined;

/** @returns what the number may be, such as `1 to 168 hours`; undefined when it is that. An emptied field counts as null. */
export function rangeFault(value: Entered, { min, max, unit, optional }: NumberRange): string | undefined {
  const fits =
    value == null ? optional : Number.isInteger(value) && value >= min && value <= (max ?? Infinity);
  if (fits === true) return undefined;
  const range =
    max === undefined
      ? `A whole number from ${formatCount(min)} on`
      : `${formatCount(min)} to ${formatCount(max)}`;
  return [range, ...(unit === undefined ? [] : [unit]), ...(optional === true ? ['or empty'] : [])].join(' ');
}

/** @returns the first fault with the name of its field, for the button; undefined when all numbers fit. */
export function firstFault(...entered: (readonly [Entered, NumberRange])[]): string | undefined {
  for (const [value, range] of entered) {
    const fault = rangeFault(value, range);
    if (fault !== undefined) return `${range.label}: ${fault}`;
  }
  return undefined;
}
