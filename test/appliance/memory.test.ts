/**
 * What a whole appliance holds, PostgreSQL apart: the sum over its processes in which a page that several share counts
 * once. The limits are what was measured with a third on top, so that they catch a module or a buffer too many and not the
 * weather; `npm run bench -- --appliance` measures larger trees.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { measureAppliance, type Phase, type PhaseFigures } from '../../scripts/bench/appliance.ts';
import { makeFolder, removeFolder } from '../helpers/served-appliance.ts';

const MIB = 1024 * 1024;
/** Less than the benchmark's smallest, yet enough to fill every buffer. */
const MODEST = { smallFiles: 1000, smallBytes: 20 * MIB, largeBytes: 40 * MIB, largeFiles: 2 };

let folder: string;
let figures: Map<Phase, PhaseFigures>;
beforeAll(async () => {
  folder = await makeFolder('memory');
  figures = await measureAppliance({ folder, size: MODEST, seed: 'memory', idleSeconds: 4 });
}, 240_000);
afterAll(() => removeFolder(folder));

function togetherMebibytes(phase: Phase): number {
  return figures.get(phase)?.memory.all.pss ?? Number.NaN;
}

describe('the memory of all processes together', () => {
  const limits: [Phase, number][] = [
    ['idle', 260],
    ['import', 340],
    ['snapshot', 540],
    ['restore test', 480],
    ['idle again', 320],
  ];
  test.each(limits)('stays within its limit: %s', (phase, limit) => {
    const together = togetherMebibytes(phase);

    expect(together).toBeGreaterThan(50);
    expect(together).toBeLessThan(limit);
  });

  test('is counted for every process, and a run is one of them', () => {
    const seen = [...(figures.get('snapshot')?.memory.roles.keys() ?? [])];

    expect(seen).toEqual(expect.arrayContaining(['supervisor', 'keyd', 'server', 'worker', 'run']));
    expect(seen.join(' ')).not.toContain('postgres');
  });

  test('is given back after an import, a snapshot and a restore test', () => {
    expect(togetherMebibytes('idle again') - togetherMebibytes('idle')).toBeLessThan(80);
  });
});
