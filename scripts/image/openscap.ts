/**
 * OpenSCAP with the CIS benchmark for Debian 13 on a system tree at rest. It runs in namespaces of its own and looks at files of
 * the tree only; content that would run scripts on the build machine is refused with the engine for them.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError, run } from './command.ts';
import type { Accepted } from './hardening.ts';
import type { Yardsticks } from './yardsticks.ts';

/** Level 2 has all of level 1. */
const PROFILE = 'xccdf_org.ssgproject.content_profile_cis_level2_server';
const CONTENT = 'usr/share/xml/scap/ssg/content/ssg-debian13-ds.xml';
const RULE = 'xccdf_org.ssgproject.content_rule_';

export interface OpenscapScore {
  scanner: string;
  /** Debian package of the content, with its version, and what system it is for. */
  content: string;
  profile: string;
  /** XCCDF's default score, 0 to 100: weighs groups of rules, not rules. */
  score: number;
  /** How many rules came to each result: pass, fail, notapplicable, notchecked, unknown, error. */
  results: Record<string, number>;
  /** Of pass and fail together, how many pass, in percent. */
  passPercent: number;
  /** Short names of the rules that failed, each with the reason why it may, or undefined. */
  failed: { rule: string; accepted?: string | undefined }[];
  /** Short names of the rules that could not be decided. */
  undecided: string[];
}

const IN_NAMESPACE = 'hostname holdfast; exec timeout 900 "$@"';

/** Evaluates the tree, which is not changed, and leaves OpenSCAP's results (XML) and report (HTML) in `out`. */
export async function runOpenscap(
  tree: string,
  { folder, versions }: Yardsticks,
  accepted: Accepted['openscap'],
  out: string,
): Promise<OpenscapScore> {
  const content = join(folder, CONTENT);
  if (!existsSync(content))
    throw new BuildError(`ssg-debian ${versions['ssg-debian']} has no content for Debian 13`);
  const results = join(out, 'hardening-openscap.xml');
  await run(
    'unshare',
    [
      ...['--mount', '--pid', '--fork', '--net', '--uts', '--ipc', '--propagation', 'private'],
      ...['sh', '-c', IN_NAMESPACE, 'sh', 'oscap', 'xccdf', 'eval', '--profile', PROFILE],
      ...['--results', results, '--report', join(out, 'hardening-openscap.html'), content],
    ],
    {
      env: {
        OSCAP_PROBE_ROOT: tree,
        OSCAP_EVALUATION_TARGET: 'chroot://holdfast',
        // No engine for scripts: they would look at the build machine.
        OSCAP_CHECK_ENGINE_PLUGIN_DIR: '/nonexistent',
        PATH: '/usr/sbin:/usr/bin',
      },
      // 2: rules failed, as some do.
      allow: [0, 2],
    },
  );
  const score = parseXccdfResults(readFileSync(results, 'utf8'), accepted);
  return { ...score, content: `ssg-debian ${versions['ssg-debian']}, for Debian 13` };
}

/**
 * @param text - XCCDF 1.2 with a TestResult.
 * @throws BuildError when there is none, or it decided nothing.
 */
export function parseXccdfResults(
  text: string,
  accepted: Accepted['openscap'],
): Omit<OpenscapScore, 'content'> {
  const result = /<TestResult\b.*<\/TestResult>/s.exec(text)?.[0];
  if (result === undefined) throw new BuildError('OpenSCAP wrote no result');
  const rules = [
    ...result.matchAll(/<rule-result\b[^>]*\bidref="([^"]+)"[^>]*>\s*<result>(\w+)<\/result>/g),
  ].map(([, id = '', state = '']) => ({ rule: id.replace(RULE, ''), state }));
  const selected = rules.filter(({ state }) => state !== 'notselected');
  const named = (...states: string[]) =>
    selected.filter(({ state }) => states.includes(state)).map(({ rule }) => rule);
  const [pass, failed] = [named('pass', 'fixed').length, named('fail')];
  const score = /<score\b[^>]*system="urn:xccdf:scoring:default"[^>]*>([\d.]+)</.exec(result)?.[1];
  if (score === undefined || pass + failed.length === 0) throw new BuildError('OpenSCAP decided nothing');
  const reasons = new Map(accepted.flatMap(({ why, rules: names }) => names.map((name) => [name, why])));
  return {
    scanner: `OpenSCAP ${/test-system="[^"]*:openscap:([^"]+)"/.exec(result)?.[1] ?? 'of unknown version'}`,
    profile: /<profile idref="([^"]+)"/.exec(result)?.[1] ?? PROFILE,
    score: Math.round(Number(score) * 10) / 10,
    results: countStates(selected.map(({ state }) => state)),
    passPercent: Math.round((pass / (pass + failed.length)) * 1_000) / 10,
    failed: failed.map((rule) => ({ rule, accepted: reasons.get(rule) })),
    undecided: named('unknown', 'error', 'notchecked'),
  };
}

function countStates(states: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const state of states.toSorted()) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}
