/** Runs a command and measures it: wall time, and the peak memory of all its processes together. */
import { readFileSync } from 'node:fs';
import { startProcess, endOf } from '../../server/lib/spawn.ts';

const SAMPLE_MS = 15;

export interface Measured {
  seconds: number;
  /** Sum over the processes of each one's highest resident size (VmHWM). */
  peakMebibytes: number;
  stdout: string;
}

/** @throws Error with what the command said when it fails */
export async function measure(
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Measured> {
  const startedAt = performance.now();
  const child = startProcess(command, args, {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const peaks = new Map<number, number>();
  const sample = (): void => {
    if (child.pid !== undefined) samplePeaks(child.pid, peaks);
  };
  sample();
  const timer = setInterval(sample, SAMPLE_MS);
  const end = await endOf(child);
  clearInterval(timer);
  const seconds = (performance.now() - startedAt) / 1000;
  if (end.exitCode !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${stderr || stdout}`);
  const kibibytes = [...peaks.values()].reduce((sum, peak) => sum + peak, 0);
  return { seconds, peakMebibytes: kibibytes / 1024, stdout };
}

function samplePeaks(pid: number, peaks: Map<number, number>): void {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const peak = /VmHWM:\s+(\d+)/.exec(status)?.[1];
    if (peak !== undefined) peaks.set(pid, Math.max(peaks.get(pid) ?? 0, Number(peak)));
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    if (children !== '') for (const below of children.split(' ')) samplePeaks(Number(below), peaks);
  } catch {
    // It has ended between two samples.
  }
}
