/** Who keeps a kit on a day, by entries that follow and correct each other. */
import { expect, test } from 'vitest';
import { keepingOn } from '../../server/appliance/kits/fold.ts';
import { missingEvents } from '../../server/appliance/kits/settle.ts';
import type { KeyEvent } from '../../server/appliance/kits/fold.ts';
import type { RepositoryStatus } from '../../server/keys/index.ts';

const entry = (holder: string, recorded: string, handedOverOn: string | null = null) => ({
  ...{ holder, handedOverOn, recordedAt: new Date(`${recorded}T12:00:00Z`) },
});
const holderOn = (day: string, entries: ReturnType<typeof entry>[]) => keepingOn(entries, day)?.holder;

test('each holder counts from the hand-over on', () => {
  const entries = [entry('Ada', '2026-01-10', '2026-01-10'), entry('Grace', '2026-06-01', '2026-06-01')];

  expect(
    ['2026-01-09', '2026-01-10', '2026-05-31', '2026-06-01'].map((day) => holderOn(day, entries)),
  ).toEqual([undefined, 'Ada', 'Ada', 'Grace']);
});

test('a later entry with an earlier day of hand-over corrects the one before', () => {
  const entries = [entry('Ada', '2026-06-10'), entry('Grace', '2026-07-05', '2026-05-01')];

  expect(holderOn('2026-07-06', entries)).toBe('Grace');
  expect(holderOn('2026-05-02', entries)).toBe('Grace');
  expect(holderOn('2026-04-30', entries)).toBeUndefined();
});

test('a kit that a clock which was ahead retired before it was added is retired all the same, once', () => {
  const added = new Date('2026-06-02T00:00:00Z');
  const known: KeyEvent[] = [
    { kind: 'generation', at: added, kitId: null, generations: [1] },
    { kind: 'identity-on', at: added, kitId: null, generations: [1] },
    { kind: 'added', at: added, kitId: 'one', generations: [1] },
  ];
  const repository: RepositoryStatus = {
    ...{ claimed: true, repositoryId: 'r', trustRoot: '', generation: 1, writeOnly: false, kits: [] },
    retiredKits: [{ id: 'one', retiredAt: '2026-06-01T00:00:00.000Z' }],
    generations: [{ generation: 1, createdAt: added.toISOString(), testIdentity: true }],
    ...{ keyringEpoch: 0, lastHeadNumber: '0', identitiesDestroyedAt: null },
  };
  const now = new Date('2026-06-03T00:00:00Z');
  const missing = missingEvents(known, repository, now);

  expect(missing).toEqual([{ kind: 'retired', at: added, kitId: 'one', generations: null }]);
  expect(missingEvents([...known, ...missing], repository, now)).toEqual([]);
});
