/**
 * How hard the image is, measured on the very tree that becomes the root slot: our own list, Lynis, OpenSCAP. What could not be
 * measured is said with its reason and never left out.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError, capture } from './command.ts';
import { runLynis, type LynisScore } from './lynis.ts';
import { runOpenscap, type OpenscapScore } from './openscap.ts';
import { fetchYardsticks } from './yardsticks.ts';

/** `packer/hardening-accepted.json`: what others find and we leave, each with its reason. */
export interface Accepted {
  lynis: {
    /** Tests that would judge a machine that does not run: test, reason. They are left out. */
    needsRunning: Record<string, string>;
    /** Warnings and suggestions: test, reason. */
    findings: Record<string, string>;
  };
  openscap: { why: string; rules: string[] }[];
}

export interface NotMeasured {
  'not measured': string;
}

/** As `holdfast hardening --json` counts. */
interface OwnScore {
  pass: number;
  fail: number;
  excepted: number;
  notChecked: number;
  /** Items that fail without an exception: none, or the image is not as it should be. */
  failed: string[];
}

export interface HardeningScores {
  holdfast: OwnScore | NotMeasured;
  lynis: LynisScore | NotMeasured;
  openscap: OpenscapScore | NotMeasured;
}

export interface MeasureOptions {
  project: string;
  work: string;
  /** Where the full reports go, as `hardening-*`. */
  out: string;
  mirror: string | undefined;
  /** What the machine lacks for OpenSCAP, in words. */
  missing: string | undefined;
}

/** @param tree - The provisioned system as it ships. It is not changed. */
export async function measureHardening(tree: string, options: MeasureOptions): Promise<HardeningScores> {
  const { project, work, out, mirror, missing } = options;
  const accepted = readAccepted(project);
  const fetched = fetchYardsticks(work, mirror);
  const [holdfast, lynis, openscap] = await Promise.all([
    orNotMeasured(() => runOwnList(tree, project, out)),
    orNotMeasured(async () => runLynis(tree, await fetched, accepted.lynis, { work, out })),
    orNotMeasured(async () => {
      if (missing !== undefined) throw new BuildError(missing);
      return runOpenscap(tree, await fetched, accepted.openscap, out);
    }),
  ]);
  return { holdfast, lynis, openscap };
}

export function readAccepted(project: string): Accepted {
  return JSON.parse(readFileSync(join(project, 'packer', 'hardening-accepted.json'), 'utf8')) as Accepted;
}

async function runOwnList(tree: string, project: string, out: string): Promise<OwnScore> {
  const command = join(project, 'scripts', 'holdfast');
  // 1: an item fails.
  const ask = (...more: string[]) =>
    capture(command, ['hardening', '--root', tree, ...more], { allow: [0, 1] });
  const json = await ask('--json');
  const { items, counts } = JSON.parse(json) as {
    items: { id: string; state: string }[];
    counts: Omit<OwnScore, 'failed'>;
  };
  writeFileSync(join(out, 'hardening-holdfast.json'), json);
  writeFileSync(join(out, 'hardening-holdfast.txt'), await ask());
  return { ...counts, failed: items.filter(({ state }) => state === 'fail').map(({ id }) => id) };
}

async function orNotMeasured<Score>(measure: () => Promise<Score>): Promise<Score | NotMeasured> {
  try {
    return await measure();
  } catch (error) {
    const [words = ''] = (error as Error).message.split('\nWhole log');
    return { 'not measured': words.trim().replaceAll(/\s+/g, ' ').slice(0, 500) };
  }
}

/** The scores in a few lines, for the end of the build; what was not measured and what nobody accepted is said first. */
export function describeHardening(scores: HardeningScores): string {
  const { holdfast, lynis, openscap } = scores;
  const line = <Score extends object>(
    name: string,
    score: Score | NotMeasured,
    say: (score: Score) => string,
  ) => `  ${name}: ${'not measured' in score ? `NOT MEASURED: ${score['not measured']}` : say(score)}`;
  return [
    'Hardening',
    line('our list', holdfast, ({ pass, fail, excepted, notChecked, failed }) =>
      [
        `${pass} pass, ${fail} fail, ${excepted} excepted, ${notChecked} not checked`,
        ...warnings('FAILS', failed),
      ].join('\n    '),
    ),
    line('Lynis', lynis, ({ version, index, testsDone, warnings: warned, suggestions }) =>
      [
        `index ${index} of 100 (${version}, ${testsDone} tests, ${warned.length} warnings)`,
        ...warnings('NOT ACCEPTED', unaccepted([...warned, ...suggestions], 'test')),
      ].join('\n    '),
    ),
    line('OpenSCAP', openscap, ({ content, score, results, passPercent, failed }) =>
      [
        `score ${score} of 100, ${passPercent} % of rules pass (${results.pass ?? 0} pass, ${results.fail ?? 0} fail; CIS level 2 server, ${content})`,
        ...warnings('NOT ACCEPTED', unaccepted(failed, 'rule')),
      ].join('\n    '),
    ),
  ].join('\n');
}

function unaccepted<Name extends string>(
  findings: readonly ({ accepted?: string | undefined } & Record<Name, string>)[],
  name: Name,
): string[] {
  return [
    ...new Set(findings.filter(({ accepted }) => accepted === undefined).map((finding) => finding[name])),
  ];
}

function warnings(word: string, names: readonly string[]): string[] {
  return names.length === 0 ? [] : [`${word}: ${names.join(', ')}`];
}
