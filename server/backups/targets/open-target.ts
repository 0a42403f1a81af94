/** The kinds of targets, in one place. */
import type { Target, TargetConfig } from '../engine.ts';
import { openDirectoryTarget } from './directory.ts';

/**
 * Opens a target that exists; creates nothing.
 *
 * @throws unavailable with a hint when it cannot be reached.
 */
export async function openTarget(config: TargetConfig): Promise<Target> {
  return openDirectoryTarget(config);
}
