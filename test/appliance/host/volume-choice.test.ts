import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chooseVolume, type ProbedDisk } from '../../../server/appliance/host/volume/choice.ts';
import type { DiskContent } from '../../../server/appliance/host/volume/probe.ts';

const header = (uuid: string, keyslots: number[]) => ({ uuid, label: '', keyslots, tokens: new Map() });
const UUIDS = ['a', 'b', 'c'];
const MINIMUM = 100;

const content: fc.Arbitrary<DiskContent> = fc.oneof(
  fc.constant<DiskContent>({ kind: 'blank' }),
  fc.constant<DiskContent>({ kind: 'unknown' }),
  fc.constant<DiskContent>({ kind: 'seed' }),
  fc.constant<DiskContent>({ kind: 'foreign', what: 'an ext4 file system' }),
  fc.constant<DiskContent>({ kind: 'failed', why: 'EIO' }),
  fc
    .record({
      claimed: fc.boolean(),
      uuid: fc.constantFrom(...UUIDS),
      slots: fc.constantFrom([0], [0, 1, 2]),
    })
    .map<DiskContent>(({ claimed, uuid, slots }) => ({
      kind: 'holdfast',
      claimed,
      header: header(uuid, [...slots]),
    })),
);
const disks = fc
  .array(
    fc.record({
      content,
      sizeBytes: fc.constantFrom(MINIMUM - 1, MINIMUM, 10 * MINIMUM),
      usedFor: fc.constantFrom('system' as const, 'other' as const),
    }),
    { maxLength: 5 },
  )
  .map((list) =>
    list.map<ProbedDisk>((disk, n) => ({ ...disk, path: `/dev/vd${n}`, model: null, serial: null })),
  );
const facts = fc.record({
  disks,
  ownUuid: fc.option(fc.constantFrom(...UUIDS), { nil: undefined }),
  configuredPath: fc.option(fc.constantFrom('/dev/vd0', '/dev/vd1'), { nil: undefined }),
  begunPath: fc.constantFrom('/dev/vd0', '/dev/vd3', 'none'),
});

test('only an empty disk, or the one that was begun, is ever formatted, and never beside a volume of the own machine', () => {
  fc.assert(
    fc.property(facts, ({ begunPath, ...given }) => {
      const choice = chooseVolume({
        ...given,
        isBegun: (disk) => disk.path === begunPath,
        minimumBytes: MINIMUM,
      });
      if (choice.kind !== 'blank') return;
      const { disk } = choice;
      expect(given.ownUuid).toBeUndefined();
      expect(disk.usedFor).not.toBe('system');
      expect(disk.sizeBytes).toBeGreaterThanOrEqual(MINIMUM);
      if (given.configuredPath !== undefined) expect(disk.path).toBe(given.configuredPath);
      const empty = disk.content.kind === 'blank';
      const unowned =
        disk.content.kind === 'holdfast' &&
        !disk.content.claimed &&
        (disk.content.header.keyslots.length === 1 || disk.path === begunPath);
      const torn = disk.content.kind === 'unknown' && disk.path === begunPath;
      expect(empty || unowned || torn).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

test('the own volume is found among any others, and a claimed one that is not known is offered for take-over', () => {
  fc.assert(
    fc.property(facts, ({ begunPath, ...given }) => {
      const choice = chooseVolume({
        ...given,
        isBegun: (disk) => disk.path === begunPath,
        minimumBytes: MINIMUM,
      });
      const usable = given.disks.filter(
        (disk) =>
          disk.usedFor !== 'system' &&
          (given.configuredPath === undefined || disk.path === given.configuredPath),
      );
      const volumes = usable.flatMap((disk) =>
        disk.content.kind === 'holdfast' ? [{ ...disk.content, path: disk.path }] : [],
      );
      if (given.ownUuid !== undefined && volumes.some((volume) => volume.header.uuid === given.ownUuid))
        expect(choice.kind).toBe('own');
      else if (
        volumes.some(
          (volume) => volume.claimed || (volume.header.keyslots.length > 1 && volume.path !== begunPath),
        )
      )
        expect(choice.kind).toBe('take-over');
      else if (given.ownUuid !== undefined) expect(['own-missing', 'failed']).toContain(choice.kind);
    }),
    { numRuns: 2_000 },
  );
});
