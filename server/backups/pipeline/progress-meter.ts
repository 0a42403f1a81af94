/** Gathers numbers as they come and reports them a few times a second. */
import type { Clock } from '../../lib/clock.ts';
import type { EngineProgress, ReportProgress } from '../engine.ts';

const INTERVAL_MS = 250;

export type Counts = Partial<Pick<EngineProgress, 'filesDone' | 'bytesDone' | 'bytesAdded' | 'bytesStored'>>;

export interface ProgressMeter {
  add(counts: Counts): void;
  step(name: string): void;
  /** What there is to do, once it is known. */
  expect(totals: { files?: number; bytes?: number }): void;
  /** Reports now. */
  flush(): void;
}

export function createProgressMeter(clock: Clock, report: ReportProgress | undefined): ProgressMeter {
  const state: EngineProgress = {
    step: 'starting',
    filesDone: 0,
    filesTotal: undefined,
    bytesDone: 0,
    bytesTotal: undefined,
    bytesAdded: 0,
    bytesStored: 0,
  };
  let lastMs = clock.monotonicMs();

  const flush = (): void => {
    lastMs = clock.monotonicMs();
    report?.({ ...state });
  };
  const perhaps = (): void => {
    if (report !== undefined && clock.monotonicMs() - lastMs >= INTERVAL_MS) flush();
  };

  return {
    add(counts) {
      state.filesDone += counts.filesDone ?? 0;
      state.bytesDone += counts.bytesDone ?? 0;
      state.bytesAdded += counts.bytesAdded ?? 0;
      state.bytesStored += counts.bytesStored ?? 0;
      perhaps();
    },
    step(name) {
      if (state.step === name) return;
      state.step = name;
      flush();
    },
    expect(totals) {
      state.filesTotal = totals.files ?? state.filesTotal;
      state.bytesTotal = totals.bytes ?? state.bytesTotal;
    },
    flush,
  };
}
