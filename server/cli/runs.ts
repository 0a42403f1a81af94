/** Following a run of the appliance from the command line. */
import type { Run } from '../lib/run-schema.ts';
import { systemClock } from '../lib/clock.ts';
import { EXIT, ERROR_STATUS, HoldfastError, exitCodeOf, type ErrorCode } from '../lib/errors.ts';
import type { ControlClient } from './control-client.ts';
import { formatBytes, type Output } from './output.ts';

const LOOK_EVERY_MS = 250;
/** A server that ended is started again within seconds; longer than this, all of Holdfast has stopped. */
const RETURN_MS = 15_000;
const FINAL = new Set<Run['state']>(['succeeded', 'partial', 'failed', 'cancelled']);

/** Watches a run to its end. Ctrl-C cancels it. */
export async function followRun(client: ControlClient, output: Output, runId: string): Promise<Run> {
  const bar = output.progress();
  let cancelled = false;
  const cancel = () => {
    if (cancelled) return;
    cancelled = true;
    output.note('Cancelling …');
    void client.send('POST', `/runs/${runId}/cancel`).catch(() => undefined);
  };
  process.on('SIGINT', cancel);
  try {
    for (;;) {
      const run = await getRun(client, runId);
      if (FINAL.has(run.state)) return run;
      const { bytesDone = 0, bytesTotal, filesDone = 0 } = run.progress;
      bar.update(
        bytesDone,
        bytesTotal,
        `${run.step ?? run.state}  ${filesDone} files  ${formatBytes(bytesDone)}`,
      );
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  } finally {
    bar.stop();
    process.off('SIGINT', cancel);
  }
}

/** @throws HoldfastError `unavailable` when Holdfast stopped and does not come back. */
async function getRun(client: ControlClient, runId: string): Promise<Run> {
  const startedMs = systemClock.monotonicMs();
  for (;;) {
    try {
      return await client.get<Run>(`/runs/${runId}`);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'unavailable') throw error;
      if (systemClock.monotonicMs() - startedMs > RETURN_MS) throw cutOff(runId, error);
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }
}

function cutOff(runId: string, cause: HoldfastError): HoldfastError {
  return new HoldfastError('unavailable', 'Holdfast stopped in the middle of this: the run was cut off', {
    hint: 'Start it with `holdfast serve`, then give this command again. Nothing that was stored is lost, and what is there already is used.',
    detail: `run ${runId}`,
    cause,
  });
}

/** Exit code for how a run ended. */
export function runExitCode(run: Run): number {
  if (run.state === 'succeeded') return EXIT.ok;
  if (run.state === 'partial') return EXIT.partial;
  const code = run.error?.code ?? '';
  return code in ERROR_STATUS ? exitCodeOf(new HoldfastError(code as ErrorCode, '')) : EXIT.error;
}

/** A failed run, in words. */
export function describeEnd(run: Run): string {
  if (run.error === null) return `The run ended: ${run.state}`;
  return [`The run ${run.state}: ${run.error.message}`, run.error.hint]
    .filter((line) => line !== undefined)
    .join('\n  ');
}
