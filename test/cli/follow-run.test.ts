/** Following a run from the command line while Holdfast comes and goes. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ControlClient } from '../../server/cli/control-client.ts';
import { createOutput } from '../../server/cli/output.ts';
import { followRun } from '../../server/cli/runs.ts';
import { HoldfastError } from '../../server/lib/errors.ts';
import type { Run } from '../../server/lib/run-schema.ts';

const RUNNING = {
  state: 'running',
  step: 'Copying the files',
  progress: { bytesDone: 5, bytesTotal: 10, filesDone: 7 },
} as unknown as Run;
const gone = new HoldfastError('unavailable', 'The appliance stopped answering');

let said: string;
beforeEach(() => {
  vi.useFakeTimers();
  said = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const follow = (answer: (look: number) => Run) => {
  let looks = 0;
  const get = async () => answer(looks++);
  return followRun({ get } as unknown as ControlClient, createOutput(true), 'run-1');
};

test('when Holdfast stops for good, the run was cut off, and the hint says how to go on', async () => {
  const following = follow((look) => {
    if (look === 0) return RUNNING;
    throw gone;
  });
  const refused = expect(following).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('cut off') as string,
    hint: expect.stringContaining('holdfast serve') as string,
  });

  await vi.advanceTimersByTimeAsync(20_000);

  await refused;
});

test('a server that is started again is followed on', async () => {
  const following = follow((look) => {
    if (look < 4) throw gone;
    return { ...RUNNING, state: 'succeeded' };
  });

  await vi.advanceTimersByTimeAsync(5_000);

  expect((await following).state).toBe('succeeded');
});

test('without a terminal a long run tells its progress in lines on stderr, a short one nothing', async () => {
  const following = follow((look) => (look < 80 ? RUNNING : { ...RUNNING, state: 'succeeded' }));

  await vi.advanceTimersByTimeAsync(4_000);
  const early = said;
  await vi.advanceTimersByTimeAsync(20_000);
  await following;

  expect(early).toBe('');
  expect(said.trim().split('\n')).toEqual(Array(3).fill('50 %  Copying the files  7 files  5 B'));
});
