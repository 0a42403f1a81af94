/** The command line against an appliance as a customer runs it: set up by file, filled, snapshot, restored in every way. */
import { chmod, mkdir, readdir, readFile, rename, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decryptAge, generateAgeIdentity, parseRecoveryKit } from '../../server/keys/index.ts';
import {
  makeFolder,
  removeFolder,
  runHoldfast,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';

const PASSWORD = 'copper kettle sings 7';
const FILES: Record<string, string> = {
  'readme.txt': 'first',
  'accounts/2026/march.csv': 'a,b\n1,2\n',
  'accounts/2026/leer.txt': '',
  'accounts/grüße – 你好.txt': 'names of every kind',
  'photo.bin': 'x'.repeat(3_000_000),
};

let folder: string;
let appliance: ServedAppliance;
let operator: { identity: string; recipient: string };
beforeAll(async () => {
  folder = await makeFolder('cli');
  operator = await generateAgeIdentity();
  for (const [path, content] of Object.entries(FILES)) {
    await mkdir(join(folder, 'source', path, '..'), { recursive: true });
    await writeFile(join(folder, 'source', path), content, { mode: 0o640 });
    await utimes(join(folder, 'source', path), 1_700_000_000, 1_700_000_000.25);
  }
  await mkdir(join(folder, 'target'));
  await writeFile(join(folder, 'password'), `${PASSWORD}\n`);
  appliance = await serveAppliance();
}, 120_000);
afterAll(async () => {
  await appliance.stop();
  await removeFolder(folder);
  await removeFolder(join(appliance.dataDir, '..'));
}, 60_000);

const at = (name: string) => join(folder, name);

async function holdfast(
  ...args: string[]
): Promise<{ exitCode: number | null; json: Record<string, unknown>; stderr: string }> {
  const run = await runHoldfast([...args, '--json'], { dataDir: appliance.dataDir });
  expect(run.stdout.trim().split('\n')).toHaveLength(1);
  return {
    exitCode: run.exitCode,
    json: JSON.parse(run.stdout) as Record<string, unknown>,
    stderr: run.stderr,
  };
}

function setupFile(change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    owner: { name: 'Ada Lovelace', email: 'ada@example.org', passwordFile: 'password' },
    appliance: { name: 'Testbed', stage: 'production', region: 'eu-north', allowedRegions: ['eu-north'] },
    kit: { recipient: operator.recipient, file: 'kit.age' },
    target: { name: 'nas', kind: 'directory', path: at('target'), region: 'eu-north' },
    firstSnapshot: false,
    ...change,
  };
}

async function writeSetup(content: unknown): Promise<string> {
  await writeFile(at('setup.yaml'), typeof content === 'string' ? content : JSON.stringify(content));
  return at('setup.yaml');
}

async function countRuns(): Promise<number> {
  await signedIn();
  const { body } = await appliance.call<{ items: unknown[] }>('GET', '/runs?kind=restore-directory');
  return body.items.length;
}

async function signedIn(): Promise<void> {
  if (appliance.cookie() !== '') return;
  await signIn(appliance, { email: 'ada@example.org', password: PASSWORD });
}

async function expectSameFiles(directory: string): Promise<void> {
  for (const [path, content] of Object.entries(FILES)) {
    expect(await readFile(join(directory, path), 'utf8')).toBe(content);
    const facts = await stat(join(directory, path));
    expect([facts.mtimeMs, facts.mode & 0o777]).toEqual([1_700_000_000_250, 0o640]);
  }
}

describe('set-up by file', () => {
  const refused: [string, () => unknown][] = [
    ['that is no YAML', () => 'a: [1,'],
    ['with an unknown key', () => setupFile({ password: 'x' })],
    [
      'with the secret key instead of a recipient',
      () => setupFile({ kit: { recipient: operator.identity, file: 'kit.age' } }),
    ],
    ['without a password', () => setupFile({ owner: { name: 'Ada', email: 'ada@example.org' } })],
    [
      'with a password in it',
      () => setupFile({ owner: { name: 'Ada', email: 'a@example.org', password: PASSWORD } }),
    ],
    [
      'with a password file that is missing',
      () => setupFile({ owner: { name: 'Ada', email: 'a@example.org', passwordFile: 'no' } }),
    ],
  ];
  for (const [name, content] of refused) {
    test(`a file ${name} is refused, and the appliance stays unclaimed`, async () => {
      const run = await holdfast('setup', '--config', await writeSetup(content()));

      expect(run.exitCode).toBe(2);
      expect(JSON.stringify(run.json)).not.toContain(operator.identity);
      expect((await holdfast('status')).json).toMatchObject({ setup: { claimed: false }, overview: null });
    });
  }

  test('does everything once, and nothing the second time', async () => {
    const path = await writeSetup(setupFile());

    const first = await holdfast('setup', '--config', path);
    const second = await holdfast('setup', '--config', path);

    const outcomes = (json: Record<string, unknown>) =>
      Object.fromEntries(
        (json.steps as { step: string; outcome: string }[]).map(({ step, outcome }) => [step, outcome]),
      );
    expect(first).toMatchObject({ exitCode: 0 });
    expect(outcomes(first.json)).toMatchObject({
      owner: 'done',
      appliance: 'done',
      'recovery kit': 'done',
      target: 'done',
      schedules: 'done',
    });
    expect(outcomes(second.json)).toMatchObject({
      owner: 'already',
      appliance: 'already',
      'recovery kit': 'already',
      target: 'already',
      schedules: 'already',
    });
    expect((await holdfast('claim-code')).json).toMatchObject({ error: { code: 'wrong_state' } });
  });

  test('leaves a kit that only the operator can open, and no unproven one beside it', async () => {
    const sealed = await readFile(at('kit.age'));
    const text = (await decryptAge(sealed, [operator.identity])).toString('utf8');

    expect(parseRecoveryKit(text).kit).toMatchObject({
      applianceName: 'Testbed',
      targets: [{ location: at('target') }],
    });
    expect((await readdir(folder)).filter((name) => name.includes('unproven'))).toEqual([]);
    await writeFile(at('kit.json'), text);
  });

  test('is audited under the account that ran it', async () => {
    const { json } = await holdfast('audit', 'list', '--action', 'appliance.ownership.claimed');

    expect(json.items).toMatchObject([{ actorKind: 'console', actorLabel: expect.any(String) as unknown }]);
  });
});

describe('files in and out', () => {
  test('import takes every file once', async () => {
    const first = await holdfast('import', at('source'));
    const second = await holdfast('import', at('source'));

    expect(first).toMatchObject({ exitCode: 0, json: { files: 5, skippedCount: 0 } });
    expect(second.json).toMatchObject({ files: 0, unchanged: 5 });
  });

  test('import of a folder with a link in it takes the rest, names the link, and ends with 3', async () => {
    await mkdir(at('linked'));
    await symlink('/etc/passwd', at('linked/link'));

    const run = await holdfast('import', at('linked'));

    expect(run.exitCode).toBe(3);
    expect(run.json).toMatchObject({ skipped: [{ path: 'link' }] });
  });

  test('export gives back names, content, times and modes', async () => {
    expect((await holdfast('export', at('exported'))).exitCode).toBe(0);

    await expectSameFiles(at('exported'));
  });
});

describe('snapshot and restore', () => {
  test('before the first snapshot there is nothing to restore: 10', async () => {
    expect((await holdfast('restore', '--to', at('nothing'))).exitCode).toBe(10);
  });

  test('a snapshot on the same disk is stored, and the status says that it does not protect', async () => {
    const run = await holdfast('snapshot');

    expect(run).toMatchObject({
      exitCode: 0,
      json: { run: { state: 'succeeded' }, snapshot: { state: 'stored' } },
    });
    expect((await holdfast('status')).json).toMatchObject({
      overview: {
        verdict: 'local-only',
        targets: [{ sameDisk: true, snapshotCount: 1 }],
        protects: { fileCount: 5 },
      },
    });
  }, 120_000);

  test('restore through the appliance gives back every file under its own name', async () => {
    expect(await holdfast('restore', '--to', at('restored'))).toMatchObject({ exitCode: 0 });

    await expectSameFiles(at('restored'));
  }, 60_000);

  test('a directory that is not empty is refused; --into-existing says what becomes of files', async () => {
    await writeFile(at('restored/readme.txt'), 'mine');
    const runsBefore = await countRuns();
    const refused = await holdfast('restore', '--to', at('restored'));
    expect([refused.exitCode, await readFile(at('restored/readme.txt'), 'utf8')]).toEqual([1, 'mine']);
    expect(await countRuns()).toBe(runsBefore);

    const kept = await holdfast('restore', '--to', at('restored'), '--into-existing', 'skip');
    expect([kept.exitCode, await readFile(at('restored/readme.txt'), 'utf8')]).toEqual([0, 'mine']);

    const replaced = await holdfast('restore', '--to', at('restored'), '--into-existing', 'replace');
    expect(replaced.exitCode).toBe(0);
    await expectSameFiles(at('restored'));
  }, 120_000);

  test('restore with target and kit alone does the same, and --path takes a part', async () => {
    const offline = ['--from', at('target'), '--kit', at('kit.json')];

    expect((await holdfast('restore', '--to', at('by-kit'), ...offline)).exitCode).toBe(0);
    const part = await holdfast(
      'restore',
      '--to',
      at('part'),
      '--path',
      'accounts/2026',
      '--path',
      'readme.txt',
      ...offline,
    );
    const none = await holdfast('restore', '--to', at('none'), '--path', 'elsewhere', ...offline);

    await expectSameFiles(at('by-kit'));
    expect(part.json).toMatchObject({ files: 3, problemCount: 0 });
    expect(await readdir(at('part'))).toEqual(['accounts', 'readme.txt']);
    expect(none).toMatchObject({ exitCode: 1, json: { error: { code: 'not_found' } } });
  }, 120_000);

  test('a link that lies in the directory is not followed', async () => {
    await mkdir(at('trap'));
    await mkdir(at('outside'));
    await symlink(at('outside'), at('trap/accounts'));

    const run = await holdfast(
      'restore',
      '--to',
      at('trap'),
      '--into-existing',
      'replace',
      '--from',
      at('target'),
      '--kit',
      at('kit.json'),
    );

    expect(run.exitCode).toBe(3);
    expect(await readdir(at('outside'))).toEqual([]);
    expect(await readFile(at('trap/readme.txt'), 'utf8')).toBe('first');
  }, 60_000);

  test('the kit of another appliance is the wrong key: 12', async () => {
    const { identity } = await generateAgeIdentity();
    const kit = JSON.parse(await readFile(at('kit.json'), 'utf8')) as Record<string, unknown>;
    await writeFile(at('foreign.json'), JSON.stringify({ ...kit, ageIdentity: identity }));

    for (const command of [
      ['verify'],
      ['restore', '--to', at('foreign')],
      ['recover', '--data', at('foreign-data'), '--yes'],
    ]) {
      const run = await holdfast(...command, '--from', at('target'), '--kit', at('foreign.json'));
      expect([command[0], run.exitCode]).toEqual([command[0], 12]);
    }
  }, 60_000);

  test('verify with the kit alone finds a whole repository whole, and a flipped bit', async () => {
    const verify = () => holdfast('verify', '--from', at('target'), '--kit', at('kit.json'));
    expect(await verify()).toMatchObject({
      exitCode: 0,
      json: { ok: true, contentChecked: true, head: { number: expect.any(Number) as number } },
    });
    const packs = join(at('target'), 'packs');
    const [aa = ''] = await readdir(packs);
    const [name = ''] = await readdir(join(packs, aa));
    const path = join(packs, aa, name);
    const bytes = await readFile(path);
    const place = bytes.length - 100;
    bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place);
    await chmod(path, 0o600);
    await writeFile(path, bytes);

    expect(await verify()).toMatchObject({ exitCode: 1, json: { ok: false } });

    bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place);
    await writeFile(path, bytes);
  }, 60_000);

  test('verify with the kit tells that a newest head may have been taken away, and ends with 3', async () => {
    const heads = join(at('target'), 'heads');
    const newest =
      (await readdir(heads)).sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10))[0] ?? '';
    await rename(join(heads, newest), at('head-away'));

    const run = await holdfast('verify', '--from', at('target'), '--kit', at('kit.json'), '--structure');

    await rename(at('head-away'), join(heads, newest));
    expect(run).toMatchObject({ exitCode: 3, json: { ok: true } });
    expect(run.json.warnings).toContainEqual(expect.objectContaining({ code: 'unclaimed_object' }));
  }, 60_000);

  test('a snapshot is meant by its number, by its id or as the latest; another is not found', async () => {
    const { items } = (await holdfast('snapshots')).json as { items: { id: string; number: string }[] };
    const [{ id, number } = { id: '', number: '' }] = items;

    for (const wanted of [number, id.slice(0, 12), id, 'latest'])
      expect((await holdfast('snapshots', 'show', wanted)).json).toMatchObject({ id, number });
    for (const command of [['snapshots', 'show'], ['forget'], ['restore', '--to', at('never')]]) {
      const run = await holdfast(...command, '4711');
      expect([command, run.exitCode, run.json.error]).toEqual([
        command,
        1,
        expect.objectContaining({
          code: 'not_found',
          hint: expect.stringContaining('holdfast snapshots') as string,
        }),
      ]);
    }
  });

  test('forget --dry-run without a snapshot shows what a policy would keep and why; a draft is not saved', async () => {
    const before = await holdfast('snapshots');

    const asItIs = await holdfast('forget', '--dry-run');
    const draft = await holdfast('forget', '--dry-run', '--keep-daily', '2', '--time-zone', 'Europe/Zurich');

    expect(asItIs.json).toMatchObject({
      dryRun: true,
      removes: 0,
      words: expect.stringContaining('the last 3, all of 7 days') as string,
    });
    expect(draft.json).toMatchObject({ removes: 0, reclaim: { bytes: 0, exact: true } });
    expect((draft.json.items as { reasons: string[] }[])[0]?.reasons[0]).toBe('the minimum of 1');
    for (const wrong of [['--dry-run', '--by-policy'], [], ['--keep-daily', '2'], ['1', '--keep-daily', '2']])
      expect([wrong, (await holdfast('forget', ...wrong)).exitCode]).toEqual([wrong, 2]);
    expect((await holdfast('forget', '--dry-run', '--time-zone', 'Mars/Olympus')).json.error).toMatchObject({
      code: 'invalid_input',
    });
    expect((await holdfast('forget', '--by-policy')).exitCode).toBe(0);
    expect((await holdfast('snapshots')).json).toEqual(before.json);
  });

  test('forget --dry-run forgets nothing', async () => {
    const before = await holdfast('snapshots');
    const id = (before.json.items as { id: string }[])[0]?.id ?? '';

    const run = await holdfast('forget', id.slice(0, 12), '--dry-run');

    expect(run.json).toMatchObject({ dryRun: true, warnings: ['! It is the only snapshot.'] });
    expect((await holdfast('snapshots')).json).toEqual(before.json);
  });
});

describe('targets lock', () => {
  test('says that a folder locks nothing, and refuses to change that, and what are no days', async () => {
    const { items } = (await holdfast('targets')).json as { items: { name: string }[] };
    const name = items[0]?.name ?? '';

    expect(await holdfast('targets', 'lock', name)).toMatchObject({ exitCode: 0, json: { lock: null } });
    expect((await holdfast('targets', 'lock', name, '90')).json.error).toMatchObject({ code: 'wrong_state' });
    for (const days of ['0', '12345', 'forever'])
      expect((await holdfast('targets', 'lock', name, days)).json.error).toMatchObject({
        code: 'invalid_input',
        hint: 'Give a number of days, or `policy`.',
      });
  });
});

describe('at the console', () => {
  test('a second Holdfast on the folder is refused: 11', async () => {
    const run = await runHoldfast(['serve'], { dataDir: appliance.dataDir });

    expect(run.exitCode).toBe(11);
  });

  test('doctor finds nothing bad, and warns of what is', async () => {
    const run = await holdfast('doctor');

    expect(run.exitCode).toBe(0);
    expect(run.json.items).toContainEqual(expect.objectContaining({ name: 'target nas', state: 'warn' }));
  });

  test('alerts lists what is not well and what is over, and an unknown option is refused', async () => {
    const open = await holdfast('alerts');
    const ended = await holdfast('alerts', '--ended');

    const items = open.json.items as { state: string }[];
    expect(open.exitCode).toBe(items.some(({ state }) => state === 'bad') ? 1 : 0);
    expect(ended).toMatchObject({ exitCode: 0, json: { items: expect.any(Array) as unknown } });
    expect((await holdfast('alerts', '--nonsense')).exitCode).toBe(2);
  });

  test('the audit log is exported, and verified with the kit and the anchors of the target, without the appliance', async () => {
    const file = at('audit.jsonl');

    const exported = await holdfast('audit', 'export', file);
    const again = await holdfast('audit', 'export', file);
    const verified = await holdfast(
      'audit',
      'verify',
      file,
      '--kit',
      at('kit.json'),
      '--anchors',
      at('target'),
    );

    expect(exported).toMatchObject({ exitCode: 0, json: { file, sizeBytes: (await stat(file)).size } });
    expect(again.exitCode).toBe(2);
    expect(verified).toMatchObject({ exitCode: 0, json: { ok: true, uncovered: 0, findings: [] } });
    const { kept } = verified.json as { kept: { given: number; believed: number } };
    expect(kept.given).toBeGreaterThan(0);
    expect(kept.believed).toBe(kept.given);
  });

  test('people and keys are listed, keys without a key', async () => {
    expect((await holdfast('users', 'list')).json).toMatchObject({
      items: [{ email: 'ada@example.org', role: 'owner' }],
    });
    const keys = await holdfast('keys', 'status');
    expect(keys.json).toMatchObject({ repository: { claimed: true } });
    expect(JSON.stringify(keys.json)).not.toMatch(/AGE-SECRET-KEY/);
  });

  test('an owner without a password gets back in with the kit', async () => {
    await writeFile(at('new-password'), 'a new kettle of brass 9\n');

    const run = await holdfast(
      'recover-owner',
      '--kit',
      at('kit.json'),
      '--password-file',
      at('new-password'),
    );

    expect(run.exitCode).toBe(0);
    const old = await appliance.call('POST', '/session', { email: 'ada@example.org', password: PASSWORD });
    const now = await appliance.call('POST', '/session', {
      email: 'ada@example.org',
      password: 'a new kettle of brass 9',
    });
    expect([old.status, now.status]).toEqual([401, 202]);
    expect(run.json).toMatchObject({ secondFactors: 'kept' });
  });

  test('no secret is in what the appliance wrote', () => {
    const output = appliance.output();

    expect(output).not.toContain(PASSWORD);
    expect(output).not.toContain('a new kettle of brass');
    expect(output).not.toMatch(/AGE-SECRET-KEY/);
  });
});
