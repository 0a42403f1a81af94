/** What a table shows of a row. */
export interface Column<T> {
  id: string;
  label: string;
  /** The plain text of the cell: shown where there is no own cell, and exported. */
  text: (row: T) => string;
  sortable?: boolean;
  /** What sorts the rows, where that is not the text. */
  order?: (row: T) => string | number;
  /** Figures stand at the end. */
  end?: boolean;
  /** Left out on a small screen. */
  wideOnly?: boolean;
  /** Cannot be left out. */
  fixed?: boolean;
}

export interface Sorting {
  by: string;
  order: 'asc' | 'desc';
}

/** The columns that are shown: all but those named in `hidden`, which is how the address keeps the choice. */
export function shownColumns<T>(columns: readonly Column<T>[], hidden: string): Column<T>[] {
  const out = new Set(hidden.split(','));
  return columns.filter((column) => column.fixed === true || !out.has(column.id));
}

const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** For lists that are loaded whole. */
export function sortRows<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  sorting: Sorting | undefined,
): readonly T[] {
  const column = columns.find((one) => one.id === sorting?.by);
  if (column === undefined || sorting === undefined) return rows;
  const value = column.order ?? column.text;
  const sign = sorting.order === 'asc' ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (typeof left === 'number' && typeof right === 'number') return sign * (left - right);
    return sign * collator.compare(String(left), String(right));
  });
}
