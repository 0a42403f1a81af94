/** The ground of a test: the repository is ours, its newest head stands, and the snapshot is the one that is meant. */
import {
  APPLIANCE_SECTION,
  DATABASE_SECTION,
  FILES_SECTION,
  partOf,
  postgresFacts,
} from '../../backups/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { need, type Check } from '../scene.ts';

/** A snapshot that is due may take this long to be there. */
const DUE_GRACE_MS = 60 * 60_000;

/** Warnings that tell of objects lost or put back; others concern what this test reads anyway. */
const FATAL_WARNINGS = [
  'older_head',
  'forked_head',
  'no_head',
  'missing_object',
  'missing_pack',
  'missing_keys',
];

export const openRepositoryCheck: Check = {
  id: 'repository',
  label: 'Repository opens and its newest head is valid',
  async run(scene) {
    const repository = await scene.openRepository();
    scene.repository = repository;
    scene.reader = await scene.openReader(repository);
    const wrong = repository.warnings.filter((warning) => FATAL_WARNINGS.includes(warning.code));
    const head = repository.headReference;
    return {
      passed: head !== undefined && wrong.length === 0,
      expected: 'a head signed by this appliance, and everything it names',
      found: [
        head === undefined ? 'no valid head' : `head ${head.number}`,
        ...wrong.map((warning) => `${warning.message} (${warning.count})`),
      ].join('; '),
    };
  },
};

export const snapshotCheck: Check = {
  id: 'snapshot',
  label: 'Snapshot is listed in the head and its signature is valid',
  async run(scene) {
    const repository = need(scene.repository, 'the repository');
    const snapshot = await repository.findSnapshot(scene.snapshotId);
    scene.snapshot = snapshot;
    const section = (name: string) =>
      partOf(
        snapshot,
        name,
        () => new HoldfastError('integrity_failure', `The snapshot has no section ${name}`),
      );
    scene.factsSection = section(APPLIANCE_SECTION);
    // The small parts of a snapshot may be kept longer than its data.
    if (scene.mode !== 'system') {
      scene.databaseSection = section(DATABASE_SECTION);
      scene.filesSection = section(FILES_SECTION);
      scene.facts = postgresFacts(scene.databaseSection);
    }
    const problems = snapshot.sections.reduce((sum, section) => sum + section.problemCount, 0);
    return {
      passed: problems === 0,
      expected:
        scene.mode === 'system'
          ? 'the description of the appliance, nothing left out'
          : 'database, files and their description, nothing left out',
      found: `snapshot ${snapshot.number}: ${snapshot.sections.map((section) => section.name).join(', ')}; left out: ${problems}`,
    };
  },
};

export const freshnessCheck: Check = {
  id: 'freshness',
  label: 'Snapshot is not older than the schedule allows',
  async run(scene) {
    const snapshot = need(scene.snapshot, 'the snapshot');
    const takenAt = new Date(snapshot.takenAt);
    const ageMinutes = Math.round((scene.startedAt.getTime() - takenAt.getTime()) / 60_000);
    const found = `taken ${snapshot.takenAt}, ${ageMinutes} min before the test`;
    const { choice, newest, drawnFrom } = scene.copy;
    if (choice === 'random' && !newest) {
      const expected = `any age: drawn among ${drawnFrom ?? 'all'} copies`;
      return { passed: true, expected, found: `${found}; it does not prove the newest` };
    }
    // A moment of the past is meant: an older snapshot leads there.
    const due = scene.chosen === undefined ? scene.expectations.snapshotDueAt : undefined;
    if (due === undefined || scene.startedAt.getTime() - due.getTime() < DUE_GRACE_MS) {
      return { passed: true, expected: 'no newer snapshot was due', found };
    }
    return {
      passed: takenAt >= due,
      expected: `taken after ${due.toISOString()}, when one was last due`,
      found,
    };
  },
};

export const keyringCheck: Check = {
  id: 'keyring',
  label: 'Keyring opens and is not older than the snapshot needs',
  async run(scene) {
    const repository = need(scene.repository, 'the repository');
    const snapshot = need(scene.snapshot, 'the snapshot');
    const epoch = repository.head?.keyring?.epoch;
    scene.contentKeys = await scene.openContentKeys(repository);
    return {
      passed: epoch !== undefined && BigInt(epoch) >= BigInt(snapshot.keyringEpoch),
      expected: `epoch ${snapshot.keyringEpoch} or later`,
      found:
        epoch === undefined
          ? 'no keyring in the repository'
          : `epoch ${epoch}, ${scene.contentKeys.objects.length} objects`,
    };
  },
};

export const factsCheck: Check = {
  id: 'facts',
  label: "The appliance's description of itself decrypts and has its hashes",
  async run(scene) {
    const reader = need(scene.reader, 'the repository');
    const section = need(scene.factsSection, 'the snapshot');
    const report = await reader.checkSection(section, { signal: scene.signal, clock: scene.clock });
    return {
      passed: report.problemCount === 0 && report.files === section.fileCount,
      expected: `${section.fileCount} files`,
      found: `${report.files} files, ${report.bytes} bytes read and hashed; problems: ${report.problemCount}`,
    };
  },
};
