/** The kinds of targets, in one place. */
import type { Target, TargetConfig } from '../engine.ts';
import { openDirectoryTarget } from './directory.ts';

/**
 * Opens a target that exists; creates nothing.
 *
 * @throws unavailable with a hint when it cannot be reached; for SFTP also wrong_key (its host key); target_refused for a refused sign-in.
 */
export async function openTarget(config: TargetConfig): Promise<Target> {
  if (config.kind === 'directory') return openDirectoryTarget(config);
  if (config.kind === 's3') return (await import('./s3/s3.ts')).openS3Target(config);
  // Loaded where it is used: a process that has no such target does not pay for it.
  const { openSftpTarget } = await import('./sftp/sftp.ts');
  return openSftpTarget(config);
}
