/** What a table shows of a row. */
export interface Column<T> {
  id: string;
  label: string;
  /** The plain text of the cell: shown where there is no own cell, and exported. */
  text: (row: T) => string;
  sortable?: boolean;
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
