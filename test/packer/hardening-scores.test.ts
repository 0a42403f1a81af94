/** What the build report says of hardening: real reports, trimmed, are read right, and what was not measured is said. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { logTo } from '../../scripts/image/command.ts';
import {
  describeHardening,
  measureHardening,
  readAccepted,
  type HardeningScores,
} from '../../scripts/image/hardening.ts';
import { parseLynisReport } from '../../scripts/image/lynis.ts';
import { checkHardeningNeeds } from '../../scripts/image/needs.ts';
import { parseXccdfResults } from '../../scripts/image/openscap.ts';
import { isRoot } from '../helpers/other-account.ts';

const project = join(import.meta.dirname, '..', '..');
const captured = (name: string) => readFileSync(join(import.meta.dirname, 'captured', name), 'utf8');
let work: string;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'holdfast-hardening-'));
  logTo(join(work, 'build.log'));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("Lynis's report", () => {
  const text = captured('lynis-report.dat');

  it.each(['finish', 'hardening_index', 'lynis_tests_done'])('without %s counts for nothing', (key) => {
    const cut = text.replace(new RegExp(`^${key}=.*\n`, 'm'), '');

    expect(() => parseLynisReport(cut, {})).toThrow(`its report lacks ${key}`);
  });

  it('gives index, tests and findings, each with the reason why it may stay', () => {
    const score = parseLynisReport(text, { 'FILE-6310': 'Nothing there fills a disk.' });

    expect(score).toMatchObject({ version: '3.1.7', index: 56, testsDone: 227 });
    expect(score.warnings).toEqual([
      { test: 'KRNL-5830', text: 'Reboot of system is most likely needed' },
      {
        test: 'LOGG-2138',
        text: 'klogd is not running, which could lead to missing kernel messages in log files',
      },
    ]);
    expect(score.suggestions).toHaveLength(12);
    expect(score.suggestions.filter(({ accepted }) => accepted !== undefined)).toHaveLength(3);
  });
});

describe("OpenSCAP's results", () => {
  const text = captured('openscap-result.xml');

  it.each([
    ['no result', /<TestResult.*<\/TestResult>/s, 'wrote no result'],
    ['no score', /<score.*<\/score>/s, 'decided nothing'],
    ['no rule that was decided', /<rule-result.*<\/rule-result>/s, 'decided nothing'],
  ])('with %s count for nothing', (_what, part, words) => {
    expect(() => parseXccdfResults(text.replace(part, ''), [])).toThrow(words);
  });

  it('give score, counts and the rules that fail, without those that the profile does not ask for', () => {
    const score = parseXccdfResults(text, [{ why: 'Ours is stricter.', rules: ['sshd_set_loglevel_info'] }]);

    expect(score).toEqual({
      scanner: 'OpenSCAP 1.3.7',
      profile: 'xccdf_org.ssgproject.content_profile_cis_level2_server',
      score: 65.4,
      results: { fail: 2, notapplicable: 1, notchecked: 1, pass: 2, unknown: 1 },
      passPercent: 50,
      failed: [
        { rule: 'package_aide_installed' },
        { rule: 'sshd_set_loglevel_info', accepted: 'Ours is stricter.' },
      ],
      undecided: ['accounts_password_pam_pwquality_enabled', 'service_auditd_enabled'],
    });
  });
});

describe('what could not be measured', () => {
  it('is in the report with its reason, and what could is beside it', async () => {
    const [out, tree] = ['out', 'tree'].map((name) => join(work, name)) as [string, string];
    for (const folder of [out, join(tree, 'etc')]) mkdirSync(folder, { recursive: true });
    const missing = 'oscap is missing';

    const scores = await measureHardening(tree, {
      ...{ project, work, out, missing },
      mirror: `file:${join(work, 'nowhere')}`,
    });

    expect(scores.lynis).toEqual({ 'not measured': expect.stringContaining('apt-get') as string });
    expect(scores.openscap).toEqual({ 'not measured': missing });
    if (isRoot) expect(scores.holdfast).toMatchObject({ excepted: 0 });
    else expect(scores.holdfast).toEqual({ 'not measured': expect.stringContaining('hardening') as string });
    const words = describeHardening(scores);
    expect(words).toContain('Lynis: NOT MEASURED: apt-get');
    expect(words).toContain(`OpenSCAP: NOT MEASURED: ${missing}`);
  }, 60_000);

  it('for want of OpenSCAP is said with the package and the option that installs it', async () => {
    const path = process.env.PATH;
    process.env.PATH = work;
    try {
      expect(await checkHardeningNeeds(false)).toBe(
        'oscap (Debian package openscap-scanner) is missing on this machine; --install-needs installs it',
      );
    } finally {
      process.env.PATH = path;
    }
  });
});

describe('the last lines of a build', () => {
  it('name what fails and what nobody accepted, once each, and no more', () => {
    const lynis = parseLynisReport(captured('lynis-report.dat'), { 'HRDN-7230': 'No.' });
    const openscap = parseXccdfResults(captured('openscap-result.xml'), []);
    const scores: HardeningScores = {
      holdfast: { pass: 9, fail: 1, excepted: 2, notChecked: 3, failed: ['banner-silent'] },
      lynis: { ...lynis, leftOut: [] },
      openscap: { ...openscap, content: 'ssg-debian 0.1.82-1, for Debian 13' },
    };

    const words = describeHardening(scores);

    expect(words).toContain('9 pass, 1 fail, 2 excepted, 3 not checked\n    FAILS: banner-silent');
    expect(words).toContain('index 56 of 100');
    expect(words.match(/FILE-6310/g)).toHaveLength(1);
    expect(words).not.toContain('HRDN-7230');
    expect(words).toContain('NOT ACCEPTED: package_aide_installed, sshd_set_loglevel_info');
  });
});

describe('the accepted findings', () => {
  const { lynis, openscap } = readAccepted(project);

  it('each say why, in a sentence', () => {
    const reasons = [
      ...Object.values(lynis.needsRunning),
      ...Object.values(lynis.findings),
      ...openscap.map(({ why }) => why),
    ];

    expect(reasons.filter((why) => why.length < 40 || !why.endsWith('.'))).toEqual([]);
  });

  it('name each rule and each test once', () => {
    const names = [
      ...Object.keys(lynis.needsRunning),
      ...Object.keys(lynis.findings),
      ...openscap.flatMap(({ rules }) => rules),
    ];

    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
    expect(names.length).toBeGreaterThan(100);
  });
});
