/** What the steps of a set-up by file have in common. */
import type { ControlClient } from './control-client.ts';
import type { Output } from './output.ts';
import type { SetupFile } from './setup-file.ts';

/** What became of each step, for `--json`. */
type StepReport = { step: string; outcome: 'done' | 'already' | 'skipped' | 'failed'; note?: string };

export interface SetupWork {
  file: SetupFile;
  client: ControlClient;
  output: Output;
  report: StepReport[];
  /** The kit's secret key, only while the run that made it lasts. */
  kit: { id: string; identity: string } | undefined;
}

export function tell(work: SetupWork, step: string, outcome: StepReport['outcome'], note?: string): void {
  work.report.push({ step, outcome, ...(note === undefined ? {} : { note }) });
  work.output.note(`${step}: ${outcome}`);
}
