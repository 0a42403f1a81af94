/** How long a restore takes and how much would be lost, from what a test saw. */
import type { Scene } from './scene.ts';

export interface Measures {
  /** From the start until the database had recovered and the files were read; null when it did not come that far. */
  rtoMs: number | null;
  /** `extrapolated` where only a sample of the files was read. */
  rtoBasis: 'measured' | 'extrapolated' | null;
  /** What would have been lost: from the snapshot to the start of the test. */
  rpoMs: number | null;
}

/** Reading every file is what a restore would take longest for; a quick test reads some and reckons up. */
export function measure(scene: Scene): Measures {
  // Nothing of the data was restored.
  if (scene.mode === 'system') return { rtoMs: null, rtoBasis: null, rpoMs: null };
  const { snapshot, filesRead, recoveredMs } = scene;
  const kept = scene.point?.opened.plan.window.to.getTime() ?? (snapshot && Date.parse(snapshot.takenAt));
  const rpoMs = kept === undefined ? null : Math.max(0, scene.startedAt.getTime() - kept);
  if (recoveredMs === undefined || filesRead === undefined) return { rtoMs: null, rtoBasis: null, rpoMs };
  const whole = filesRead.bytes >= filesRead.totalBytes;
  const filesMs = whole ? filesRead.ms : (filesRead.ms * filesRead.totalBytes) / Math.max(1, filesRead.bytes);
  return { rtoMs: Math.round(recoveredMs + filesMs), rtoBasis: whole ? 'measured' : 'extrapolated', rpoMs };
}
